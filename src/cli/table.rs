//! Tables of text: columns as wide as their widest cell, two spaces between them.

/// On which side a column's cells are filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table that grows by rows.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings; a heading that begins with `>` stands over a column of numbers.
    pub(super) fn new(headings: &[&str]) -> Self {
        let columns = headings.iter().map(|h| if h.starts_with('>') { Align::Right } else { Align::Left }).collect();
        let first = headings.iter().map(|h| h.trim_start_matches('>').to_owned()).collect();
        Self { columns, rows: vec![first] }
    }

    /// Adds a row; missing cells are empty.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows but the headings.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines, each with its end.
    pub(super) fn text(&self) -> String {
        let width = |i: usize| self.rows.iter().filter_map(|row| row.get(i)).map(|cell| width(cell)).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = self.columns.iter().zip(widths).enumerate().map(|(i, (align, wide))| {
            let cell = row.get(i).map_or("", String::as_str);
            let fill = " ".repeat(wide - width(cell));
            match align {
                Align::Left => format!("{cell}{fill}"),
                Align::Right => format!("{fill}{cell}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    }
}

/// Characters that a cell takes on the screen: escape sequences of colours take none.
fn width(cell: &str) -> usize {
    let mut wide = 0;
    let mut escaped = false;
    for c in cell.chars() {
        match (escaped, c) {
            (false, '\u{1b}') => escaped = true,
            (true, 'm') => escaped = false,
            (true, _) => {}
            (false, _) => wide += 1,
        }
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_colour_and_lines_have_no_blanks_at_their_end() {
        let mut table = Table::new(&["GROUP", ">SHARE", "HEALTH"]);
        table.row(vec!["blue".into(), "100 %".into(), "\u{1b}[32mhealthy\u{1b}[0m".into()]);
        table.row(vec!["grün-2".into(), "0 %".into()]);
        let expected = "GROUP   SHARE  HEALTH\nblue    100 %  \u{1b}[32mhealthy\u{1b}[0m\ngrün-2    0 %\n";
        assert_eq!(table.text(), expected);
    }
}
