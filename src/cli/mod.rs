//! Floor 4: the command line. One file per verb.

pub mod check;
pub mod init;
pub mod schema;
