//! The application's own ABR policy, on a thread of its own: it may think for long, or never come back, and holds
//! nothing up but itself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nearcast_core::abr::{AbrContext, AbrDecision, AbrPolicy, Transfer};
use tokio::sync::oneshot;

/// A question waits at most while another one is thought about: an older one is of no use any more.
const QUESTIONS_MAX: usize = 1;

struct Question {
    context: Box<AbrContext>,
    transfers: Vec<Transfer>,
    answer: oneshot::Sender<AbrDecision>,
}

/// The thread that asks the application's policy. It ends when this is dropped and the policy has come back.
#[derive(Debug)]
pub(crate) struct PolicyThread {
    questions: SyncSender<Question>,
}

impl PolicyThread {
    /// Starts the thread; `None` where the system gives none, and the built-in policy decides.
    pub(crate) fn start(policy: Box<dyn AbrPolicy>) -> Option<Self> {
        let (questions, asked) = sync_channel(QUESTIONS_MAX);
        std::thread::Builder::new()
            .name("nearcast-policy".to_owned())
            .spawn(move || answer_all(policy, &asked))
            .ok()?;
        Some(Self { questions })
    }

    /// Asks; the receiver fails at once where the policy still thinks about others, or has panicked.
    pub(crate) fn ask(
        &self,
        context: Box<AbrContext>,
        transfers: Vec<Transfer>,
    ) -> oneshot::Receiver<AbrDecision> {
        let (answer, answered) = oneshot::channel();
        // Refused: the sender of the answer is dropped with the question, and the session decides without.
        drop(self.questions.try_send(Question {
            context,
            transfers,
            answer,
        }));
        answered
    }
}

fn answer_all(mut policy: Box<dyn AbrPolicy>, asked: &Receiver<Question>) {
    while let Ok(question) = asked.recv() {
        for transfer in &question.transfers {
            policy.transferred(transfer);
        }
        let choice = policy.decide(&question.context);
        // Nobody waits for an answer that is late.
        let _late = question.answer.send(choice.decision);
    }
}
