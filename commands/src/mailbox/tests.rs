//! Queues have an end. Nothing here needs Postgres: nobody listens at the address.

use domain::{AppointmentId, BusinessId, ServiceId};
use futures::future::join_all;
use streams::{Actor, CommandContext, Database, Nudge, Origin, clock, log::Log};

use super::MOST_WAITING;
use crate::{
    CommandError, Commands, Policy,
    appointment::{BookAppointment, BookingRefused, Guest, Start},
};

fn commands() -> Commands {
    let database = Database::new("postgres://nobody@127.0.0.1:1/nothing", 2).unwrap();
    Commands::new(Log::new(database, Nudge::default()), Policy { free_monthly_cap: 1 })
}

fn booking() -> BookAppointment {
    BookAppointment {
        appointment_id: AppointmentId::new(clock::new_id()),
        service_id: ServiceId::new(clock::new_id()),
        staff_id: None,
        start: Start::At(clock::now()),
        guest: Guest { name: "Ada".to_owned(), email: None, phone: None },
        timezone: None,
        notes: None,
        waived: domain::availability::Waived::default(),
        also: vec![],
        answers: domain::business::Answers::default(),
        subjects: vec![],
        series: None,
        waitlist_id: None,
    }
}

fn context(business_id: BusinessId) -> CommandContext {
    let (now, origin) = (clock::now(), Origin::of_our_own());
    CommandContext { business_id, actor: Actor::Guest, now, origin }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_refuses_at_once_and_serves_whoever_was_in_it() {
    let commands = commands();
    let context = context(BusinessId::new(clock::new_id()));
    let turn = commands.turn::<BookingRefused>(context.business_id).await.unwrap();
    let mailbox = commands.mailboxes.of(context.business_id);
    let book = || async {
        let booking = booking();
        commands.book_here(&booking, None, &context).await
    };
    // All of them wait behind the turn, but for those that no longer fit.
    let waiting = join_all((0..MOST_WAITING + 10).map(|_| book()));
    let (answers, ()) = tokio::join!(waiting, async {
        while mailbox.inside().waiting.len() < MOST_WAITING {
            tokio::task::yield_now().await;
        }
        drop(turn);
    });
    let refused = answers.iter().filter(|a| matches!(a, Err(CommandError::Conflict))).count();
    let away = answers.iter().filter(|a| matches!(a, Err(CommandError::Unavailable(_)))).count();
    assert_eq!((refused, away), (10, MOST_WAITING), "{:?}", answers.last());
    assert!(!mailbox.inside().at_work || mailbox.inside().waiting.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_of_one_business_come_one_after_the_other_and_others_do_not_wait() {
    let commands = commands();
    let [one, other] = [(); 2].map(|()| BusinessId::new(clock::new_id()));
    let first = commands.turn::<BookingRefused>(one).await.unwrap();
    let mut second = std::pin::pin!(commands.turn::<BookingRefused>(one));
    assert!(futures::poll!(second.as_mut()).is_pending());
    drop(commands.turn::<BookingRefused>(other).await.unwrap());
    assert!(futures::poll!(second.as_mut()).is_pending());
    drop(first);
    drop(second.await.unwrap());
}
