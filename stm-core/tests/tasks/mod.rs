//! Transactions as tasks, on explicit attempts: what an asynchronous interface would do.

use contempo_core::explicit::{Detached, Limits, begin};
use contempo_core::{StmResult, Transaction};
use std::future::poll_fn;
use std::task::Poll;

/// Runs `body` as `atomically` does, but waits as a task.
pub(crate) async fn atomically_as_task<R>(
    mut body: impl FnMut(&Transaction<'_>) -> StmResult<R>,
) -> R {
    let mut waiting: Option<Detached> = None;
    poll_fn(|cx| {
        loop {
            if let Some(detached) = &mut waiting
                && detached.poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            let attempt = match waiting.take() {
                Some(detached) => detached.resume().expect("outside of any transaction"),
                None => begin(Limits::default()).expect("outside of any transaction"),
            };
            let result = body(&attempt.transaction());
            match attempt.commit() {
                Ok(_) => return Poll::Ready(result.expect("it was not interrupted")),
                Err(again) => waiting = Some(again.detach().expect("there are no bounds")),
            }
        }
    })
    .await
}
