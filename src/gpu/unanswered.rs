//! Queries of error scopes that a browser has not answered yet.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;

type Question = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// The queries of one call, each with the operation that it belongs to, in the order in which they were issued.
#[derive(Default)]
pub(crate) struct Unanswered(RefCell<Vec<(&'static str, Question)>>);

impl Unanswered {
    pub(crate) fn add<Q: Future<Output = Option<wgpu::Error>> + 'static>(
        &self,
        during: &'static str,
        questions: Vec<Q>,
    ) {
        self.0.borrow_mut().extend(questions.into_iter().map(|question| (during, Box::pin(question) as Question)));
    }

    pub(crate) fn take(&self) -> Vec<(&'static str, Question)> {
        self.0.take()
    }
}

impl fmt::Debug for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pending error scopes", self.0.borrow().len())
    }
}
