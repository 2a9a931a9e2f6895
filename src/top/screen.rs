//! The terminal: taken, drawn on, and given back whatever happens.
//!
//! Responsible for keys and for the end: by a key, by a signal, by an error and by a panic the terminal is as it was. Not
//! responsible for what is shown (`page`).

use std::env;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use ratatui::{DefaultTerminal, Frame};
use taciturn_controller::overview::Overview;

use super::News;
use super::page::Page;

/// How long a key waits at most.
const TICK: Duration = Duration::from_millis(100);

/// Draws until it is told to end.
pub(super) fn show(address: &str, first: Overview, news: &Receiver<News>) -> anyhow::Result<()> {
    // Also puts a hook before that of a panic, which gives the terminal back before the message is printed.
    let terminal =
        ratatui::try_init().context("the terminal cannot be taken; --once prints text")?;
    let mut view = View {
        address: address.to_owned(),
        overview: first,
        heard: Instant::now(),
        failure: None,
        scroll: 0,
        last: 0,
        colour: env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
    };
    let ended = view.run(terminal, news);
    let restored = ratatui::try_restore().context("the terminal cannot be given back; run reset");
    ended.and(restored)
}

struct View {
    address: String,
    overview: Overview,
    heard: Instant,
    failure: Option<String>,
    scroll: u16,
    /// The greatest scroll that shows something.
    last: u16,
    colour: bool,
}

impl View {
    fn run(&mut self, mut terminal: DefaultTerminal, news: &Receiver<News>) -> anyhow::Result<()> {
        let drawn = "the terminal cannot be drawn on";
        loop {
            terminal.draw(|frame| self.draw(frame)).context(drawn)?;
            // Countdowns move by the second; keys, sizes and news at once.
            let until = Instant::now() + Duration::from_secs(1);
            loop {
                if event::poll(TICK).context("the terminal cannot be read")? {
                    let event = event::read().context("the terminal cannot be read")?;
                    if self.key(&event) {
                        return Ok(());
                    }
                    break;
                }
                match news.try_recv() {
                    Ok(News::End) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Ok(News::Heard(heard)) => {
                        match *heard {
                            Ok(overview) => {
                                self.overview = overview;
                                self.heard = Instant::now();
                                self.failure = None;
                            }
                            Err(error) => self.failure = Some(error.to_string()),
                        }
                        break;
                    }
                    Err(TryRecvError::Empty) if Instant::now() >= until => break,
                    Err(TryRecvError::Empty) => {}
                }
            }
        }
    }

    /// Whether it is the one to quit with.
    fn key(&mut self, event: &Event) -> bool {
        let Event::Key(KeyEvent {
            code,
            modifiers,
            kind: KeyEventKind::Press | KeyEventKind::Repeat,
            ..
        }) = event
        else {
            return false;
        };
        let control = modifiers.contains(KeyModifiers::CONTROL);
        if matches!(code, KeyCode::Char('q') | KeyCode::Esc)
            || (control && *code == KeyCode::Char('c'))
        {
            return true;
        }
        let rows = [
            (KeyCode::Down, 1),
            (KeyCode::Char('j'), 1),
            (KeyCode::Up, -1),
            (KeyCode::Char('k'), -1),
            (KeyCode::PageDown, 15),
            (KeyCode::Char(' '), 15),
            (KeyCode::PageUp, -15),
            (KeyCode::Home, i16::MIN),
            (KeyCode::Char('g'), i16::MIN),
            (KeyCode::End, i16::MAX),
            (KeyCode::Char('G'), i16::MAX),
        ];
        if let Some((_, rows)) = rows.iter().find(|(key, _)| key == code) {
            self.scroll = self.scroll.saturating_add_signed(*rows).min(self.last);
        }
        false
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let lines = Page {
            overview: &self.overview,
            passed: self.heard.elapsed(),
            failure: self.failure.as_deref(),
            width: usize::from(area.width),
            colour: self.colour,
        }
        .lines();
        let all = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        let mut body = area;
        body.height = area.height.saturating_sub(1);
        self.last = all.saturating_sub(body.height);
        self.scroll = self.scroll.min(self.last);
        frame.render_widget(Paragraph::new(lines).scroll((self.scroll, 0)), body);
        let more = if self.last > 0 {
            let to = self.scroll.saturating_add(body.height).min(all);
            format!(
                "   lines {} to {to} of {all}, arrows scroll",
                self.scroll.saturating_add(1)
            )
        } else {
            String::new()
        };
        let foot = format!(" q quits{more}   {}", self.address);
        let width = usize::from(area.width);
        let foot = format!("{:<width$}", foot.chars().take(width).collect::<String>());
        let mut place = area;
        place.y = area.y.saturating_add(body.height);
        place.height = area.height.min(1);
        let style = Style::new().add_modifier(Modifier::REVERSED);
        frame.render_widget(Paragraph::new(Line::styled(foot, style)), place);
    }
}
