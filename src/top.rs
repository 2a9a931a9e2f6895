//! `taciturn top`: a running fleet in a terminal, or as text.
//!
//! Responsible for asking again and again, and for how it ends. Not for what is shown (`page`), nor for the terminal
//! (`screen`). It orders nothing.

mod page;
mod screen;
mod words;

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use taciturn_controller::onlooker::{Onlooker, OnlookerError};
use taciturn_controller::overview::Overview;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::TopOptions;
use page::Page;

/// Columns of text that goes to no terminal.
const COLUMNS: usize = 100;

/// What comes while something is shown.
#[derive(Debug)]
enum News {
    /// An answer, or why there is none.
    Heard(Box<Result<Overview, OnlookerError>>),
    /// The process is to end.
    End,
}

pub(crate) fn run(options: &TopOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let onlooker = onlooker(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    // Before anything is drawn: whoever has the wrong address or token is told so on a plain line.
    let first = runtime.block_on(onlooker.overview())?;
    if options.once {
        return print(&first, out);
    }
    if !io::stdout().is_terminal() {
        return print_on(&runtime, &onlooker, options.interval, first, out);
    }
    let address = onlooker.address().to_owned();
    let news = ask_beside(runtime, onlooker, options.interval)?;
    screen::show(&address, first, &news)
}

fn onlooker(options: &TopOptions) -> anyhow::Result<Onlooker> {
    let read = |path: &std::path::PathBuf| {
        fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))
    };
    let token = options.token_file.as_ref().map(read).transpose()?;
    let ca = options.ca.as_ref().map(read).transpose()?;
    Ok(Onlooker::new(
        &options.url,
        token.as_deref(),
        ca.as_deref(),
    )?)
}

fn print(overview: &Overview, out: &mut dyn Write) -> anyhow::Result<()> {
    let page = Page {
        overview,
        passed: Duration::ZERO,
        failure: None,
        width: COLUMNS,
        colour: false,
    };
    for line in page.lines() {
        let text: String = line
            .spans
            .iter()
            .map(|span| span.content.as_ref())
            .collect();
        writeln!(out, "{}", text.trim_end())?;
    }
    out.flush()?;
    Ok(())
}

/// One page after the other, until the reader has seen enough or the controller does not answer.
fn print_on(
    runtime: &Runtime,
    onlooker: &Onlooker,
    interval: Duration,
    first: Overview,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut overview = first;
    loop {
        print(&overview, out)?;
        writeln!(out)?;
        thread::sleep(interval);
        overview = runtime.block_on(onlooker.overview())?;
    }
}

/// Asks on a thread of its own, so that keys and signals are not kept waiting by a controller that is slow.
fn ask_beside(
    runtime: Runtime,
    onlooker: Onlooker,
    interval: Duration,
) -> anyhow::Result<Receiver<News>> {
    let (sender, news) = mpsc::channel();
    // Listened to before the terminal is taken, or a signal that comes at once would leave it taken.
    let signals = {
        let _inside = runtime.enter();
        Signals::listen().context("signals cannot be listened to")?
    };
    thread::Builder::new()
        .name("asking".to_owned())
        .spawn(move || {
            let end = sender.clone();
            runtime.block_on(async {
                tokio::select! {
                    () = ask(&onlooker, interval, &sender) => {}
                    () = signals.come() => {
                        let _ = end.send(News::End);
                    }
                }
            });
        })
        .context("the thread that asks cannot be started")?;
    Ok(news)
}

async fn ask(onlooker: &Onlooker, interval: Duration, sender: &Sender<News>) {
    loop {
        tokio::time::sleep(interval).await;
        let heard = News::Heard(Box::new(onlooker.overview().await));
        if sender.send(heard).is_err() {
            return;
        }
    }
}

/// What asks a process to end; Ctrl-C is a key while the terminal is ours.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
        ]))
    }

    /// The first of them.
    async fn come(self) {
        let [mut terminate, mut hang_up, mut interrupt] = self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
