//! The server: one group and one bucket behind a port of loopback.
//!
//! Responsible for connections, for the order of requests, for what goes wrong with them and for a record of all. Not
//! responsible for what they mean.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::http::{self, Answer, Fault, Recorded, Request, Trouble};
use crate::{Bucket, Group, query};

/// How time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Only when [`Server::advance`] says so.
    Still,
    /// This many seconds in each second of the wall clock.
    Times(u32),
}

/// Everything behind the port.
#[derive(Debug)]
pub struct Cloud {
    /// The group.
    pub group: Group,
    /// The bucket.
    pub bucket: Bucket,
    /// What goes wrong next, in this order for each action.
    pub faults: Vec<Fault>,
    /// What was asked.
    pub requests: Vec<Recorded>,
    last: Instant,
}

impl Cloud {
    fn trouble(&mut self, action: &str) -> Option<Trouble> {
        let due = |fault: &Fault| fault.action.is_empty() || fault.action == action;
        let index = self.faults.iter().position(due)?;
        let fault = self.faults.get_mut(index)?;
        fault.times = fault.times.saturating_sub(1);
        let trouble = fault.trouble.clone();
        if fault.times == 0 {
            self.faults.remove(index);
        }
        Some(trouble)
    }

    fn pass(&mut self, pace: Pace) {
        let since = self.last.elapsed();
        self.last += since;
        if let Pace::Times(times) = pace {
            self.group.advance(since.saturating_mul(times));
        }
    }

    fn answer(&mut self, request: &Request) -> (Answer, Option<Trouble>) {
        let is_query = request.method == "POST";
        let parameters = if is_query {
            query::parameters(&request.body)
        } else {
            let mut parameters = request.headers.clone();
            parameters.insert("path".to_owned(), request.path.clone());
            parameters
        };
        let action = match parameters.get("Action") {
            Some(action) if is_query => action.clone(),
            Some(_) | None => request.method.clone(),
        };
        let trouble = self.trouble(&action);
        let signed = request
            .headers
            .get("authorization")
            .is_some_and(|it| it.starts_with("AWS4-HMAC-SHA256 "));
        let number = u64::try_from(self.requests.len()).unwrap_or(u64::MAX);
        let refused = |status: u16, code: &str, message: &str| {
            Answer::xml(status, query::error(status, code, message, number))
        };
        let answer = match &trouble {
            Some(Trouble::Refused {
                status,
                code,
                message,
            }) => refused(*status, code, message),
            Some(Trouble::Page { status }) => Answer {
                status: *status,
                headers: vec![("content-type", "text/html".to_owned())],
                body:
                    "<!doctype html><html><title>Error</title><p>It did not work.<br>Sorry.</html>"
                        .to_owned(),
            },
            Some(Trouble::Said(body)) => Answer::xml(200, body.clone()),
            Some(Trouble::Dropped) => Answer::xml(0, String::new()),
            Some(
                Trouble::DroppedAfter
                | Trouble::Late(_)
                | Trouble::Cut { .. }
                | Trouble::Torn { .. },
            )
            | None => {
                if !signed {
                    refused(
                        403,
                        "MissingAuthenticationToken",
                        "The request is not signed.",
                    )
                } else if is_query {
                    match self.group.act(&action, &parameters) {
                        Ok(result) => Answer::xml(200, query::answer(&action, &result, number)),
                        Err((status, code, message)) => refused(status, code, &message),
                    }
                } else {
                    self.bucket.answer(request)
                }
            }
        };
        self.requests.push(Recorded {
            action,
            parameters,
            status: answer.status,
        });
        (answer, trouble)
    }
}

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    cloud: Arc<Mutex<Cloud>>,
    pace: Pace,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be opened.
    pub fn start(group: Group, pace: Pace) -> io::Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), group, pace)
    }

    /// Listens there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn at(address: SocketAddr, mut group: Group, pace: Pace) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        group.epoch = unix.as_secs();
        let cloud = Arc::new(Mutex::new(Cloud {
            group,
            bucket: Bucket::default(),
            faults: Vec::new(),
            requests: Vec::new(),
            last: Instant::now(),
        }));
        let ends = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (cloud, ends) = (Arc::clone(&cloud), Arc::clone(&ends));
            move || {
                for stream in listener.incoming() {
                    if ends.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let cloud = Arc::clone(&cloud);
                    std::thread::spawn(move || serve(&stream, &cloud, pace));
                }
            }
        });
        Ok(Self {
            address,
            cloud,
            pace,
            ends,
            thread: Some(thread),
        })
    }

    /// Its URL, for AWS_ENDPOINT_URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything behind the port, while no request is answered.
    pub fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.cloud().group.advance(by);
    }

    /// Lets the time pass that has passed since it was looked at, where the server has a pace.
    pub fn tick(&self) {
        self.cloud().pass(self.pace);
    }

    /// Lets something go wrong with the next calls of `action`.
    pub fn fail(&self, action: &str, trouble: Trouble, times: u32) {
        self.cloud().faults.push(Fault {
            action: action.to_owned(),
            trouble,
            times,
        });
    }

    /// Requests for `action` so far.
    pub fn asked(&self, action: &str) -> Vec<Recorded> {
        let cloud = self.cloud();
        let asked = cloud.requests.iter().filter(|it| it.action == action);
        asked.cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &TcpStream, cloud: &Mutex<Cloud>, pace: Pace) {
    let patience = Some(Duration::from_secs(10));
    let _ = stream.set_read_timeout(patience);
    let Ok(request) = http::read(stream) else {
        return;
    };
    let (answer, trouble) = {
        let mut cloud = cloud.lock().unwrap_or_else(PoisonError::into_inner);
        cloud.pass(pace);
        cloud.answer(&request)
    };
    if let Some(Trouble::Late(by)) = &trouble {
        std::thread::sleep(*by);
    }
    let _ = http::write(stream, &answer, trouble.as_ref());
}
