//! What reaches the controller, and in which order: a way back waits for no other command.
//!
//! A change waits for the store for seconds when the disk hangs, and those behind it with it. Whatever sends users
//! back to where they were is carried out ahead of all that waits.

use std::collections::VecDeque;

use tokio::sync::{mpsc, watch};

use super::command::RolloutWish;
use super::controller::Command;
use super::prober::Turn;
use super::rollouts::RolloutCommand;
use crate::model::rollout::Input;

/// Commands that are looked through for one that is urgent; more wait in the channel.
const MOST: usize = 256;

/// What reaches the controller.
pub(super) struct Inbox {
    pub(super) commands: Commands,
    pub(super) turns: mpsc::Receiver<Turn>,
    pub(super) shutdown: watch::Receiver<bool>,
}

/// Commands that wait.
pub(super) struct Commands {
    come: mpsc::Receiver<Command>,
    urgent: VecDeque<Command>,
    others: VecDeque<Command>,
}

impl Commands {
    pub(super) fn new(come: mpsc::Receiver<Command>) -> Self {
        Self { come, urgent: VecDeque::new(), others: VecDeque::new() }
    }

    /// The next command; none when there will be none. Nothing is lost where this is dropped ahead of its end.
    pub(super) async fn next(&mut self) -> Option<Command> {
        while self.others.len() < MOST
            && let Ok(command) = self.come.try_recv()
        {
            self.keep(command);
        }
        if let Some(command) = self.urgent.pop_front().or_else(|| self.others.pop_front()) {
            return Some(command);
        }
        self.come.recv().await
    }

    fn keep(&mut self, command: Command) {
        let queue = if is_urgent(&command) { &mut self.urgent } else { &mut self.others };
        queue.push_back(command);
    }
}

/// Whether `command` sends users back.
fn is_urgent(command: &Command) -> bool {
    match command {
        Command::Change { request, .. } => request.is_rollback(),
        Command::Rollout(RolloutCommand::Steer { wish, .. }) => *wish == RolloutWish::Abort,
        Command::Rollout(RolloutCommand::Say { input, .. }) => {
            matches!(input, Input::Back | Input::GuardFailed | Input::FurtherBack)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::control::command::Origin;
    use crate::model::names::ServiceName;

    fn steer(wish: RolloutWish) -> Command {
        let (service, reply) = (ServiceName::new("shop").unwrap(), oneshot::channel().0);
        Command::Rollout(RolloutCommand::Steer { service, wish, origin: Origin::default(), reply })
    }

    #[tokio::test]
    async fn a_way_back_is_next_and_all_others_keep_their_order() {
        let (commands, come) = mpsc::channel(16);
        let mut waiting = Commands::new(come);
        for wish in [RolloutWish::Pause, RolloutWish::Resume, RolloutWish::Abort, RolloutWish::Advance] {
            commands.send(steer(wish)).await.unwrap();
        }
        drop(commands);
        let mut order = Vec::new();
        while let Some(command) = waiting.next().await {
            let Command::Rollout(RolloutCommand::Steer { wish, .. }) = command else { panic!("{command:?}") };
            order.push(wish);
        }
        let expected = [RolloutWish::Abort, RolloutWish::Pause, RolloutWish::Resume, RolloutWish::Advance];
        assert_eq!(order, expected);
    }
}
