//! A connection that can be cut within a write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::Shared;

/// Cuts a connection within what is written next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knife(Arc<AtomicBool>);

impl Knife {
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stream that a knife can cut. HTTP writes a chunk and its length at once, so that half of a write
/// is half of a chunk.
#[derive(Debug)]
pub(crate) struct Cuttable<S> {
    stream: S,
    knife: Knife,
    /// Who is told of each write.
    shared: Arc<Shared>,
    is_cut: bool,
}

impl<S> Cuttable<S> {
    pub(crate) fn new(stream: S, knife: Knife, shared: Arc<Shared>) -> Self {
        Self { stream, knife, shared, is_cut: false }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let is_last = self.knife.0.load(Ordering::Relaxed);
        let bytes = if is_last { &bytes[..bytes.len().div_ceil(2)] } else { bytes };
        *self.shared.last_write.lock().expect("not poisoned") = Some(Instant::now());
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.is_cut = is_last && written.is_ready();
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, bytes)
    }
}
