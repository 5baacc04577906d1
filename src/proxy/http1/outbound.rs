//! A connection to an upstream that speaks HTTP/1.1: a request out, its answer back, and the next.
//!
//! Driven by the task of the request that has it. While the answer comes, what is left of the upload goes out.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Frame, SizeHint};

use super::decoder::Decoder;
use super::framing::Length;
use super::head::{self, ResponseHead, Search};
use super::inbound::Inbound;
use super::io::{HEAD_ROOM, Io};
use super::render;
use crate::model::fields::Fields;
use crate::proxy::alarm::Alarm;
use crate::proxy::error::BodyError;
use crate::proxy::headers;
use crate::proxy::upload::Upload;
use crate::proxy::wire::Wire;

/// Answers ahead of the answer that an upstream may give to one request.
const MOST_INTERIM: u32 = 32;

/// A connection to an upstream.
#[derive(Debug)]
pub(in crate::proxy) struct Outbound {
    io: Io,
    search: Search,
    body: Decoder,
    /// What is still to be sent of the request's body.
    upload: Option<Rc<Upload>>,
    upload_length: Length,
    /// Bytes written before the present request.
    written_before: u64,
    /// Something of the present answer has come.
    spoken: bool,
    interim: u32,
    keeps: Keeps,
    /// Kept from request to request.
    alarm: Alarm,
}

/// Whether the connection may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    Yes,
    No,
    /// The upstream takes nothing more; it may still answer.
    Deaf,
}

/// A request as it goes out.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Sent<'a> {
    pub(in crate::proxy) method: &'a Method,
    pub(in crate::proxy) path: &'a str,
    pub(in crate::proxy) fields: &'a Fields,
    pub(in crate::proxy) upload: Option<&'a Rc<Upload>>,
    /// Where answers ahead of the answer go.
    pub(in crate::proxy) client: Option<&'a Rc<Inbound>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Lost {
    /// The connection was closed or failed; how far it came is said by [`Outbound::progress`].
    Closed,
    /// What came is not HTTP/1.1.
    Malformed,
    /// The client did not send its body.
    Upload,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Progress {
    /// Nothing was written.
    Nothing,
    /// Something was written, and nothing came back.
    Written,
    /// The upstream has said something.
    Spoken,
}

impl Outbound {
    pub(in crate::proxy) fn new(wire: Wire) -> Self {
        Self {
            io: Io::new(wire, bytes::BytesMut::new()),
            search: Search::default(),
            body: Decoder::Ended,
            upload: None,
            upload_length: Length::None,
            written_before: 0,
            spoken: false,
            interim: 0,
            keeps: Keeps::Yes,
            alarm: Alarm::default(),
        }
    }

    /// Whether an idle connection is still open, as far as can be told without asking.
    pub(in crate::proxy) fn is_alive(&mut self) -> bool {
        !self.io.has_died()
    }

    /// Gives memory back that an idle connection does not need.
    pub(in crate::proxy) fn shrink(&mut self) {
        self.io.shrink();
        self.alarm = Alarm::default();
    }

    /// Whether the exchange ended as it should, so that another one may follow. What came unasked would be taken for
    /// the next answer, and so nothing may.
    pub(in crate::proxy) fn is_reusable(&self) -> bool {
        let idle = self.io.input.is_empty() && !self.io.has_output() && self.upload.is_none();
        idle && self.keeps == Keeps::Yes && self.body.is_ended()
    }

    /// The wire after the upstream has switched protocols, with what it has said since.
    pub(in crate::proxy) fn into_io(self) -> Io {
        self.io
    }

    /// Begins an exchange. Nothing is written before the first [`Self::poll_head`].
    pub(in crate::proxy) fn begin(&mut self, sent: &Sent<'_>) {
        self.written_before = self.io.written();
        (self.spoken, self.interim, self.keeps) = (false, 0, Keeps::Yes);
        self.search = Search::default();
        self.upload_length = sent.upload.map_or(Length::None, |u| u.length());
        self.upload = sent.upload.map(Rc::clone);
        render::request(&mut self.io.output, sent.method, sent.path, sent.fields, self.upload_length);
    }

    /// How far the present request came.
    pub(in crate::proxy) fn progress(&self) -> Progress {
        match (self.spoken, self.io.written() == self.written_before) {
            (true, _) => Progress::Spoken,
            (false, false) => Progress::Written,
            (false, true) => Progress::Nothing,
        }
    }

    /// Ready when `due` has passed.
    pub(in crate::proxy) fn poll_due(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        self.alarm.poll(cx, due)
    }

    /// Sends the request and reads the head of its answer.
    pub(in crate::proxy) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        sent: &Sent<'_>,
    ) -> Poll<Result<ResponseHead, Lost>> {
        self.poll_send(cx)?;
        loop {
            let found =
                head::response(&mut self.io.input, &mut self.search, sent.method).map_err(|_| Lost::Malformed)?;
            match found {
                Some(head) if is_interim(&head) => {
                    self.pass_on(head, sent)?;
                    // The upload may have waited for it.
                    self.poll_send(cx)?;
                }
                Some(head) => {
                    self.body = Decoder::new(head.length);
                    if !head.keeps || head.length == Length::UntilClose {
                        self.keeps = Keeps::No;
                    }
                    return Poll::Ready(Ok(head));
                }
                None => match ready!(self.io.poll_fill(cx, HEAD_ROOM)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Lost::Closed)),
                    Ok(_) => self.spoken = true,
                },
            }
        }
    }

    fn pass_on(&mut self, head: ResponseHead, sent: &Sent<'_>) -> Result<(), Lost> {
        self.interim += 1;
        if self.interim > MOST_INTERIM {
            return Err(Lost::Malformed);
        }
        if head.status == StatusCode::CONTINUE {
            // The client is asked in turn when its body is read.
            sent.upload.into_iter().for_each(|u| u.let_go());
        } else if let Some(client) = sent.client {
            let mut fields = head.fields;
            headers::remove_hop_by_hop(&mut fields);
            client.interim(head.status, &fields);
        }
        Ok(())
    }

    /// The next piece of the answer's body; none at its end.
    pub(in crate::proxy) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.upload.is_some() || self.io.has_output() {
            // A client that breaks off its upload is told nothing more, but gets what is on its way.
            let _ = self.poll_send(cx);
        }
        let polled = self.body.poll(&mut self.io, cx);
        polled.map(|piece| piece.map(|p| p.map_err(BodyError::Http1)))
    }

    pub(in crate::proxy) fn has_whole_body(&self) -> bool {
        self.body.is_ended()
    }

    pub(in crate::proxy) fn body_size(&self) -> SizeHint {
        self.body.size()
    }

    /// Sends what can be sent. That the upstream takes nothing more is no error yet: it may have answered already.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Lost> {
        if self.keeps == Keeps::Deaf {
            return Ok(());
        }
        loop {
            let uploaded = self.poll_upload(cx)?;
            match self.io.poll_flush(cx) {
                Poll::Ready(Ok(())) if uploaded.is_ready() && self.upload.is_some() => {}
                Poll::Ready(Ok(())) | Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => {
                    (self.keeps, self.upload) = (Keeps::Deaf, None);
                    return Ok(());
                }
            }
        }
    }

    /// Moves the upload into the output. Ready when the output is full, or there is no more.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        while let Some(upload) = &self.upload
            && !self.io.is_full()
        {
            match ready!(upload.poll(cx)) {
                Some(Ok(frame)) => self.add(frame)?,
                Some(Err(_)) => return self.give_up(),
                None => self.end_upload(&HeaderMap::new())?,
            }
            if self.upload.as_ref().is_some_and(|u| u.has_ended()) && self.upload_length != Length::Chunked {
                self.end_upload(&HeaderMap::new())?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn add(&mut self, frame: Frame<Bytes>) -> Result<(), Lost> {
        match (frame.into_data(), &mut self.upload_length) {
            (Ok(data), Length::Chunked) => self.io.push_chunk(data),
            (Ok(data), Length::Exact(left)) => {
                // More than was promised would be taken for another request.
                *left = left.checked_sub(data.len() as u64).ok_or(Lost::Upload)?;
                self.io.push(data);
            }
            (Ok(_), Length::None | Length::UntilClose) => return Err(Lost::Upload),
            (Err(frame), _) => self.end_upload(&frame.into_trailers().unwrap_or_default())?,
        }
        Ok(())
    }

    fn end_upload(&mut self, trailers: &HeaderMap) -> Result<(), Lost> {
        self.upload = None;
        match self.upload_length {
            Length::Chunked => render::last_chunk(&mut self.io.output, trailers),
            Length::Exact(1..) => return Err(Lost::Upload),
            Length::Exact(0) | Length::None | Length::UntilClose => {}
        }
        Ok(())
    }

    fn give_up<T>(&mut self) -> Poll<Result<T, Lost>> {
        (self.keeps, self.upload) = (Keeps::Deaf, None);
        Poll::Ready(Err(Lost::Upload))
    }
}

fn is_interim(head: &ResponseHead) -> bool {
    head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS
}
