//! A TCP client's connection: frames out of one read, and frames into one write. TLS is left out: its keys are random,
//! and its cipher is the library's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use taciturn_protocol::address::Transport;
use taciturn_protocol::time::Instant;
use taciturn_relay::listener::{ConnectionSlot, Established};
use taciturn_relay::stream::{Connection, QueueClass, Queued, Scratch, StreamLimits};

use super::messages::{CHANNEL, channel_message};
use crate::count::Counter;

const FRAMES: usize = 64;
const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// Runs the cases.
pub(super) fn run(counter: &mut Counter) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, address) = listener.accept()?;
    accepted.set_nonblocking(true)?;
    let established = Established {
        server: accepted.local_addr()?,
        stream: accepted,
        tls: None,
        early: Vec::new(),
        transport: Transport::Tcp,
        client: address,
        slot: ConnectionSlot::uncounted(),
    };
    let mut connection = Connection::new(established, StreamLimits::default(), NOW);
    let mut scratch = Scratch::new();
    let frame = channel_message(CHANNEL);
    for counted in [false, true] {
        client.write_all(&frame.repeat(FRAMES))?;
        // The kernel may deliver a little later when the machine is busy.
        std::thread::sleep(Duration::from_millis(50));
        let mut receive = || frames_received(&mut connection, &mut scratch);
        if counted {
            counter.once(
                "stream: receive, each of 64 frames in one read",
                FRAMES,
                receive,
            )?;
        } else {
            anyhow::ensure!(receive() == FRAMES, "not all arrived in time");
        }
    }
    let (header, payload) = frame.split_at(4);
    let mut sink = vec![0; frame.len() * FRAMES];
    for counted in [false, true] {
        let mut send = || {
            let frames = (0..FRAMES).map(|_| {
                connection.queue(NOW, QueueClass::Media, &[header, payload]) == Queued::Accepted
            });
            let queued = frames.filter(|accepted| *accepted).count();
            let flushed = connection.flush(NOW).is_ok() && !connection.wants_write();
            queued * usize::from(flushed)
        };
        if counted {
            counter.once("stream: send, each of 64 frames in one write", FRAMES, send)?;
        } else {
            anyhow::ensure!(send() == FRAMES, "not all were sent");
        }
        client.read_exact(&mut sink)?;
    }
    Ok(())
}

fn frames_received(connection: &mut Connection, scratch: &mut Scratch) -> usize {
    let Ok(mut batch) = connection.receive(NOW, scratch) else {
        return 0;
    };
    let mut frames = 0;
    while let Ok(Some(_)) = batch.next_frame() {
        frames += 1;
    }
    let kept = connection.keep_rest(NOW, batch).is_ok();
    frames * usize::from(kept)
}
