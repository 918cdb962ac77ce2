//! Accepts connections and negotiates their protocol.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::cut::{Cuttable, Knife};
use crate::handle::handle;
use crate::server::Shared;

/// Whom a request comes from.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The certificates that it has shown.
    pub(crate) shown: Vec<CertificateDer<'static>>,
    /// What cuts the connection to it.
    pub(crate) knife: Knife,
}

/// Serves while the door is open. It ends with the door, and its connections with it.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut is_open: watch::Receiver<bool>,
) {
    let address = listener.local_addr().expect("it is bound");
    let mut listener = Some(listener);
    loop {
        let listener = listener.take().unwrap_or_else(|| {
            TcpListener::bind(address).expect("nobody else has taken the port meanwhile")
        });
        tokio::select! {
            () = accept(listener, &shared) => {}
            closed = is_open.wait_for(|is_open| !is_open) => {
                if closed.is_err() {
                    return;
                }
            }
        }
        if is_open.wait_for(|is_open| *is_open).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    listener.set_nonblocking(true).expect("a socket can be made so");
    let listener = tokio::net::TcpListener::from_std(listener).expect("within a runtime");
    // Dropped at the end, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Go's default, too. Otherwise the kernel holds back what follows on a small packet until that
        // is acknowledged, and the virtual time of tests does not wait for that.
        stream.set_nodelay(true).expect("a socket can be made so");
        let shared = shared.clone();
        // A connection that fails is what clients are tested with.
        connections.spawn(async move { speak(stream, shared).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn speak(stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let tls = shared.tls.lock().expect("not poisoned").clone();
    let Some(tls) = tls else { return answer(stream, shared, Vec::new()).await };
    let stream = TlsAcceptor::from(tls).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    answer(stream, shared, shown).await
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
    shown: Vec<CertificateDer<'static>>,
) -> io::Result<()> {
    let peer = Peer { shown, knife: Knife::default() };
    let stream = Cuttable::new(stream, peer.knife.clone(), shared.clone());
    let service = service_fn(|request| handle(shared.clone(), &peer, request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    connection.await.map_err(io::Error::other)
}
