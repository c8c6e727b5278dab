//! A reload of everything: the receiver first, and the workers when it has taken the new configuration
//! over, so that none of them works for routes that the receiver does not know.

use super::supervisor::Plan;

/// How far a reload is.
#[derive(Debug, Default)]
pub struct Reloading {
    /// The receiver was asked and has not answered.
    waits: bool,
    next: Option<Step>,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Tell the receiver to reload.
    Receiver,
    /// Restart the workers.
    Workers,
}

impl Reloading {
    /// Begins one, if that would not end everything.
    pub fn ask(&mut self, plan: &Plan) {
        match (plan.check)() {
            Ok(()) => {
                tracing::info!("SIGHUP: reloading the receiver, then the workers");
                self.begin();
            }
            Err(error) => tracing::error!(
                "SIGHUP: nothing is reloaded, for the configuration has problems: {error:#}"
            ),
        }
    }

    fn begin(&mut self) {
        self.waits = true;
        self.next = Some(Step::Receiver);
    }

    /// The receiver has taken a configuration over, by whomever it was asked, or has not.
    pub fn answered(&mut self, taken_over: bool) {
        let waited = std::mem::take(&mut self.waits);
        match taken_over {
            true => self.next = Some(Step::Workers),
            false if waited => tracing::error!(
                "the receiver keeps its configuration, see above; the workers are left alone"
            ),
            false => {}
        }
    }

    /// Whoever was asked is gone: its successor is asked.
    pub fn receiver_ended(&mut self) {
        if self.waits {
            self.next = Some(Step::Receiver);
        }
    }

    /// What is to be done now, once.
    pub fn next(&mut self) -> Option<Step> {
        self.next.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_follow_a_receiver_that_has_taken_it_over() {
        let mut reloading = Reloading::default();
        reloading.begin();
        assert_eq!(reloading.next(), Some(Step::Receiver));
        assert_eq!(reloading.next(), None);
        reloading.receiver_ended();
        assert_eq!(reloading.next(), Some(Step::Receiver));
        reloading.answered(true);
        assert_eq!(reloading.next(), Some(Step::Workers));
        reloading.receiver_ended();
        assert_eq!(reloading.next(), None);
    }

    #[test]
    fn workers_are_left_alone_where_the_receiver_keeps_what_it_had() {
        let mut reloading = Reloading::default();
        reloading.begin();
        reloading.next();
        reloading.answered(false);
        assert_eq!(reloading.next(), None);
        // asked by somebody else, over its private listener
        reloading.answered(true);
        assert_eq!(reloading.next(), Some(Step::Workers));
    }
}
