//! The arguments that neither names nor shapes tell, as text in the metadata of a safetensors file.
//!
//! `{prefix}batch_first`, `{prefix}dropout` and `{prefix}nonlinearity`, as Python prints them. A file need not have
//! them.

use std::collections::BTreeMap;

use crate::cell_kind::CellKind;
use crate::config::{Nonlinearity, RecurrentConfig};
use crate::error::ArgumentMismatch;
use crate::weights::names::Naming;
use crate::weights::tensor_file::TensorFile;
use crate::{Error, Result};

const BATCH_FIRST: &str = "batch_first";
const DROPOUT: &str = "dropout";
const NONLINEARITY: &str = "nonlinearity";

/// The arguments that a file records; `None` for those that it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) batch_first: Option<bool>,
    pub(crate) dropout: Option<f64>,
    pub(crate) nonlinearity: Option<Nonlinearity>,
}

impl Recorded {
    /// Reads the entries of a prefix.
    pub(crate) fn read(file: &TensorFile, prefix: &str) -> Result<Self> {
        let entry = |argument: &'static str, expected: &'static str| {
            let text = file.metadata().get(&format!("{prefix}{argument}"));
            text.map(|text| (text.as_str(), Error::Config { argument, expected, got: format!("{text:?}") }))
        };
        let batch_first = entry(BATCH_FIRST, "true or false in the file's metadata").map(|(text, error)| match text {
            "true" | "True" => Ok(true),
            "false" | "False" => Ok(false),
            _ => Err(error),
        });
        let dropout = entry(DROPOUT, "a probability from 0 to 1 in the file's metadata");
        let dropout = dropout.map(|(text, error)| match text.parse() {
            Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
            _ => Err(error),
        });
        let nonlinearity = entry(NONLINEARITY, "tanh or relu in the file's metadata").map(|(text, error)| match text {
            "tanh" => Ok(Nonlinearity::Tanh),
            "relu" => Ok(Nonlinearity::Relu),
            _ => Err(error),
        });
        Ok(Self {
            batch_first: batch_first.transpose()?,
            dropout: dropout.transpose()?,
            nonlinearity: nonlinearity.transpose()?,
        })
    }

    /// The arguments to record of a configuration; a cell has neither a batch dimension to move nor dropout.
    pub(crate) fn of(naming: Naming, config: &RecurrentConfig) -> Self {
        let nonlinearity = match config.cell {
            CellKind::Rnn(nonlinearity) => Some(nonlinearity),
            _ => None,
        };
        match naming {
            Naming::Layer => Self {
                batch_first: Some(config.batch_first),
                dropout: Some(config.dropout).filter(|&p| p != 0.0),
                nonlinearity,
            },
            Naming::Cell => Self { nonlinearity, ..Self::default() },
        }
    }

    /// The entries under a prefix.
    pub(crate) fn entries(self, prefix: &str) -> BTreeMap<String, String> {
        let batch_first = self.batch_first.map(|value| (BATCH_FIRST, value.to_string()));
        let dropout = self.dropout.map(|value| (DROPOUT, value.to_string()));
        let nonlinearity = self.nonlinearity.map(|value| (NONLINEARITY, word(value).to_owned()));
        let all = [batch_first, dropout, nonlinearity].into_iter().flatten();
        all.map(|(argument, text)| (format!("{prefix}{argument}"), text)).collect()
    }

    /// Sets what is recorded.
    pub(crate) fn apply(self, config: &mut RecurrentConfig) {
        config.batch_first = self.batch_first.unwrap_or(config.batch_first);
        config.dropout = self.dropout.unwrap_or(config.dropout);
        if let (CellKind::Rnn(own), Some(recorded)) = (&mut config.cell, self.nonlinearity) {
            *own = recorded;
        }
    }

    /// Compares with a configuration. Dropout is a choice of each training, and not compared.
    pub(crate) fn differences(self, config: &RecurrentConfig) -> Vec<ArgumentMismatch> {
        let batch_first = self.batch_first.filter(|&recorded| recorded != config.batch_first);
        let batch_first = batch_first.map(|recorded| ArgumentMismatch {
            argument: BATCH_FIRST,
            expected: config.batch_first.to_string(),
            got: recorded.to_string(),
        });
        let nonlinearity = match (config.cell, self.nonlinearity) {
            (CellKind::Rnn(own), Some(recorded)) if own != recorded => Some(ArgumentMismatch {
                argument: NONLINEARITY,
                expected: word(own).to_owned(),
                got: word(recorded).to_owned(),
            }),
            _ => None,
        };
        batch_first.into_iter().chain(nonlinearity).collect()
    }
}

fn word(nonlinearity: Nonlinearity) -> &'static str {
    match nonlinearity {
        Nonlinearity::Tanh => "tanh",
        Nonlinearity::Relu => "relu",
    }
}
