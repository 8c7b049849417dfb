//! Places in queues of transactions that leave their thread.

use super::*;

#[test]
fn a_task_has_the_place_of_the_thread_that_it_leaves() {
    #[derive(Default)]
    struct Bell(AtomicBool);
    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let ([first, second, third], [cell]) = world(|_| ());
    let call = || {
        let (key, table) = (cell.key(), first.domain.table());
        first.domain.queues().call_first(key, table, &mut Tasks::none(), || ())
    };
    let (ahead, waiting, behind) = (queue(first, cell), queue(second, cell), queue(third, cell));
    let mut task = waiting.detach(&History::default(), None).ok().expect("it has a place");
    assert_eq!(phase(second), TurnPhase::Idle, "the thread is free");
    let bell = Arc::<Bell>::default();
    let waker = bell.clone().into();
    let mut cx = std::task::Context::from_waker(&waker);
    let rung = || bell.0.swap(false, Ordering::SeqCst);
    assert!(task.poll(&cx).is_pending() && !rung());
    // It becomes the first, and is called; each time it is woken, once, and by the last waker.
    drop(ahead);
    assert!(rung() && task.poll(&cx).is_pending() && task.poll(&cx).is_pending() && !rung());
    assert_eq!(call(), 2);
    assert!(rung() && task.poll(&cx).is_ready() && task.poll(&cx).is_ready());
    assert_eq!(task.end(), (cell.key(), false), "it was called");
    assert_eq!(phase(third), TurnPhase::First);
    drop(task);
    // One that is called leaves no place to give. One that is dropped makes the next the first.
    assert_eq!(call(), 1);
    assert!(behind.detach(&History::default(), None).is_err());
    let (dropped, next) = (queue(first, cell), queue(third, cell));
    drop(dropped.detach(&History::default(), None).ok().expect("it has a place"));
    assert!(phase(third) == TurnPhase::First && was_woken(third));
    drop(next);
    assert_eq!(call(), 0);
    // Bounds end its wait; then it escalates. (Slices are an hour long.)
    let waiting = queue(second, cell);
    let mut task = waiting.detach(&History::default(), too_late()).ok().expect("it has a place");
    assert!(task.poll(&cx).is_pending());
    drop(task);
    let mut task = queue(second, cell)
        .detach(&History::default(), Some(Instant::now()))
        .ok()
        .expect("it has a place");
    cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(task.poll(&cx).is_ready());
    second.has_had_its_turn(task.end());
    assert!(second.turns.history.get().escalates && second.turns.hot.get() == cell.key());
    assert_eq!(call(), 0);
}
