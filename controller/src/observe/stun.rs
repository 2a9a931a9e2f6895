//! A STUN Binding request to a relay's data path (RFC 8489 §2).
//!
//! Responsible for telling an admin API that is down from a relay that is. Not responsible for what follows.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use taciturn_protocol::wire::{Class, Framed, Method, TransactionId, Writer};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How often it is asked: a datagram may be lost.
const TRIES: u32 = 3;

/// Whether the relay at `server` answers within `patience`. What else comes from there is no answer; an error of this host's
/// own, such as no route, is none either.
pub(super) async fn answers(server: SocketAddr, patience: Duration) -> bool {
    for _ in 0..TRIES {
        if let Ok(true) = ask(server, patience / TRIES).await {
            return true;
        }
    }
    false
}

async fn ask(server: SocketAddr, patience: Duration) -> io::Result<bool> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    // Only datagrams of this address are read from now on, and a port that is closed is an error at once.
    socket.connect(server).await?;
    let mut random = [0; 12];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let id = TransactionId(random);
    let mut buffer = [0; 64];
    let mut request = Writer::new(&mut buffer, Class::Request, Method::Binding, id);
    request.fingerprint();
    let length = request.finish().map_err(io::Error::other)?;
    let request = buffer.get(..length).unwrap_or_default();
    socket.send(request).await?;
    let heard = timeout(patience, async {
        let mut answer = [0; 1500];
        loop {
            let length = socket.recv(&mut answer).await?;
            if is_answer(answer.get(..length).unwrap_or_default(), id) {
                return io::Result::Ok(true);
            }
        }
    });
    heard.await.unwrap_or(Ok(false))
}

/// A success, or an error: whoever says that it will not is there.
fn is_answer(datagram: &[u8], id: TransactionId) -> bool {
    Framed::parse(datagram).is_ok_and(|message| {
        message.transaction_id() == id
            && message.method() == Method::Binding
            && matches!(message.class(), Class::Success | Class::Error)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    /// Answers the second request, after something that is none.
    async fn server(kind: Class, same_id: bool) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut request = [0; 1500];
            for turn in 0..TRIES {
                let (length, client) = socket.recv_from(&mut request).await.unwrap();
                let mut id = Framed::parse(&request[..length]).unwrap().transaction_id();
                if !same_id {
                    id.0[0] ^= 1;
                }
                let mut buffer = [0; 64];
                let writer = Writer::new(&mut buffer, kind, Method::Binding, id);
                let length = writer.finish().unwrap();
                socket.send_to(b"hello", client).await.unwrap();
                if turn > 0 {
                    socket.send_to(&buffer[..length], client).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn a_relay_that_answers_answers_also_when_a_datagram_is_lost() {
        assert!(answers(server(Class::Success, true).await, PATIENCE).await);
        assert!(answers(server(Class::Error, true).await, PATIENCE).await);
    }

    #[tokio::test]
    async fn what_answers_another_question_or_nothing_does_not_count() {
        let short = Duration::from_millis(300);
        assert!(!answers(server(Class::Success, false).await, short).await);
        assert!(!answers(server(Class::Indication, true).await, short).await);
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        assert!(!answers(address, short).await);
    }
}
