//! The view in a terminal.

use super::text::{self, CELLS, THREADS};
use super::{Sort, Source};
use contempo_live::view::View;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use std::io;
use std::time::{Duration, Instant};

/// What is shown, and how.
struct Screen {
    view: View,
    sort: Sort,
    paused: bool,
    /// Threads above the first that is shown.
    scrolled: usize,
}

/// What a key asks for.
#[derive(PartialEq, Eq, Debug)]
enum Next {
    Quit,
    Show,
    Nothing,
}

/// Shows what is there until the user quits. The terminal is as it was after that, whatever ends this: `run` restores it
/// when it returns, and its hook of panics before they are told. Ctrl-C is a key here.
pub(super) fn run(source: &mut Source, interval: Duration, sort: Sort) -> io::Result<()> {
    ratatui::run(|terminal| show(terminal, source, interval, sort))
}

fn show(
    terminal: &mut DefaultTerminal,
    source: &mut Source,
    interval: Duration,
    sort: Sort,
) -> io::Result<()> {
    let mut screen = Screen { view: source.look(), sort, paused: false, scrolled: 0 };
    let mut due = Instant::now() + interval.min(Duration::from_millis(200)); // The first has no rates.
    loop {
        screen.sort.sort(&mut screen.view.threads);
        terminal.draw(|frame| screen.draw(frame))?;
        loop {
            if event::poll(due.saturating_duration_since(Instant::now()))? {
                match screen.handle(&event::read()?) {
                    Next::Quit => return Ok(()),
                    Next::Show => break,
                    Next::Nothing => {}
                }
            }
            if Instant::now() >= due {
                due = Instant::now() + interval;
                if !screen.paused {
                    screen.view = source.look();
                    break;
                }
            }
        }
    }
}

impl Screen {
    fn handle(&mut self, event: &Event) -> Next {
        let key = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            Event::Resize(..) => return Next::Show,
            _ => return Next::Nothing,
        };
        let most = self.view.threads.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Next::Quit;
            }
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scrolled = (self.scrolled + 1).min(most),
            KeyCode::Home | KeyCode::Char('g') => self.scrolled = 0,
            _ => return Next::Nothing,
        }
        Next::Show
    }

    fn draw(&self, frame: &mut Frame) {
        let cells = (self.view.cells.len() as u16 + 1).max(2).min(frame.area().height / 3);
        let parts = [
            Constraint::Length(4),
            Constraint::Length(cells + 1),
            Constraint::Min(3),
            Constraint::Length(1),
        ];
        let [top, middle, bottom, keys] = Layout::vertical(parts).areas(frame.area());
        let lines = text::summary(&self.view).map(Line::from);
        let style = match self.view.alarm {
            Some(_) => Style::new().fg(Color::Red),
            None => Style::new(),
        };
        frame.render_widget(Paragraph::new(lines.to_vec()).style(style), top);
        let rows = self.view.cells.iter().map(|cell| Row::new(text::cell(cell)));
        table(frame, middle, &CELLS, rows.collect());
        let threads = self.view.threads.iter().skip(self.scrolled);
        let rows = threads.map(|thread| {
            let style = match thread.waits {
                _ if !thread.alive => Style::new().fg(Color::Red),
                Some(_) => Style::new().fg(Color::Yellow),
                None => Style::new(),
            };
            Row::new(text::thread(thread)).style(style)
        });
        table(frame, bottom, &THREADS, rows.collect());
        let paused = if self.paused { "PAUSED  " } else { "" };
        let sort = self.sort.name();
        let help = format!("{paused}q quit  p pause  s sort (by {sort})  up, down, g scroll");
        frame.render_widget(Line::styled(help, Modifier::REVERSED), keys);
    }
}

fn table(frame: &mut Frame, area: Rect, heads: &[(&'static str, u16)], rows: Vec<Row<'static>>) {
    let widths = heads.iter().map(|(_, width)| match width {
        0 => Constraint::Min(16),
        width => Constraint::Length(*width),
    });
    let head = Row::new(heads.iter().map(|(head, _)| *head)).style(Modifier::BOLD);
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use contempo_live::view::Looks;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    fn screen() -> Screen {
        contempo::TVar::new(0).store(1); // This thread is one that uses cells.
        let view = Looks::new().look("a region", contempo::activity(5));
        Screen { view, sort: Sort::Doing, paused: false, scrolled: 0 }
    }

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn keys_do_what_they_say() {
        let mut screen = screen();
        let mut press = |code| screen.handle(&key(code, KeyModifiers::NONE));
        assert_eq!(
            (press(KeyCode::Char('x')), press(KeyCode::Char('p'))),
            (Next::Nothing, Next::Show)
        );
        for _ in 0..Sort::ALL.len() + 1 {
            assert_eq!(press(KeyCode::Char('s')), Next::Show);
        }
        assert_eq!((press(KeyCode::Char('q')), press(KeyCode::Esc)), (Next::Quit, Next::Quit));
        assert!(screen.paused && screen.sort == Sort::Commits, "once around, and one more");
        let control = key(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.handle(&control), Next::Quit);
        for _ in 0..9 {
            assert_eq!(screen.handle(&key(KeyCode::Down, KeyModifiers::NONE)), Next::Show);
        }
        assert!(screen.scrolled < screen.view.threads.len());
    }

    #[test]
    fn it_fits_into_every_terminal() {
        let screen = screen();
        for (width, height) in [(120, 30), (80, 24), (20, 5), (1, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no system");
            terminal.draw(|frame| screen.draw(frame)).expect("no system");
            let shown = terminal.backend().to_string();
            if width == 120 {
                for part in ["a region", "commits/s", "aborts by cause", "idle", "q quit"] {
                    assert!(shown.contains(part), "{part}: {shown}");
                }
            }
        }
    }
}
