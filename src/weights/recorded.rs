//! The arguments that neither names nor shapes tell, as text in the metadata of a safetensors file.
//!
//! `{prefix}batch_first`, `{prefix}dropout`, `{prefix}nonlinearity` and `{prefix}reset_after`, as Python prints them,
//! and what PyTorch's layers lack: `{prefix}reverse`, `{prefix}activations` (such as "Sigmoid; Tanh; HardSigmoid(0.2,
//! 0.5)"), `{prefix}clip` and `{prefix}input_forget`. A file need not have them.

use std::collections::BTreeMap;

use crate::activation::Activation;
use crate::cell_kind::Nonlinearity;
use crate::config::RecurrentConfig;
use crate::error::{ArgumentMismatch, Error, Result};
use crate::weights::names::Naming;
use crate::weights::tensor_file::TensorFile;

const BATCH_FIRST: &str = "batch_first";
const DROPOUT: &str = "dropout";
const NONLINEARITY: &str = "nonlinearity";
const RESET_AFTER: &str = "reset_after";
const REVERSE: &str = "reverse";
const ACTIVATIONS: &str = "activations";
const CLIP: &str = "clip";
const INPUT_FORGET: &str = "input_forget";

/// The arguments that a file records; `None` for those that it does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) batch_first: Option<bool>,
    pub(crate) dropout: Option<f64>,
    pub(crate) nonlinearity: Option<Nonlinearity>,
    pub(crate) reset_after: Option<bool>,
    pub(crate) reverse: Option<bool>,
    pub(crate) activations: Option<Vec<Activation>>,
    pub(crate) clip: Option<f32>,
    pub(crate) input_forget: Option<bool>,
}

impl Recorded {
    /// Reads the entries of a prefix.
    pub(crate) fn read(file: &TensorFile, prefix: &str) -> Result<Self> {
        let entry = |argument: &'static str, expected: &'static str| {
            let text = file.metadata().get(&format!("{prefix}{argument}"));
            text.map(|text| (text.as_str(), Error::Config { argument, expected, got: format!("{text:?}") }))
        };
        let truth = |argument| {
            let entry = entry(argument, "true or false in the file's metadata").map(|(text, error)| match text {
                "true" | "True" => Ok(true),
                "false" | "False" => Ok(false),
                _ => Err(error),
            });
            entry.transpose()
        };
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
        let activations = entry(ACTIVATIONS, "names of ONNX between semicolons in the file's metadata");
        let activations = activations.map(|(text, error)| {
            text.split(';').map(|name| name.trim().parse()).collect::<Result<Vec<_>>>().map_err(|_| error)
        });
        let clip = entry(CLIP, "a number above 0 in the file's metadata");
        let clip = clip.map(|(text, error)| match text.parse() {
            Ok(clip) if clip > 0.0 => Ok(clip),
            _ => Err(error),
        });
        Ok(Self {
            batch_first: truth(BATCH_FIRST)?,
            dropout: dropout.transpose()?,
            nonlinearity: nonlinearity.transpose()?,
            reset_after: truth(RESET_AFTER)?,
            reverse: truth(REVERSE)?,
            activations: activations.transpose()?,
            clip: clip.transpose()?,
            input_forget: truth(INPUT_FORGET)?,
        })
    }

    /// The arguments to record of a configuration; a cell has neither a batch dimension to move nor dropout.
    pub(crate) fn of(naming: Naming, config: &RecurrentConfig) -> Self {
        let (nonlinearity, reset_after) = (config.cell.nonlinearity(), config.cell.reset_after());
        match naming {
            Naming::Layer => Self {
                batch_first: Some(config.batch_first),
                dropout: Some(config.dropout).filter(|&p| p != 0.0),
                nonlinearity,
                reset_after,
                reverse: Some(true).filter(|_| config.reverse),
                activations: Some(config.form.activations.clone()).filter(|all| !all.is_empty()),
                clip: config.form.clip,
                input_forget: Some(true).filter(|_| config.form.input_forget),
            },
            Naming::Cell => Self { nonlinearity, reset_after, ..Self::default() },
        }
    }

    /// The entries under a prefix.
    pub(crate) fn entries(self, prefix: &str) -> BTreeMap<String, String> {
        let batch_first = self.batch_first.map(|value| (BATCH_FIRST, value.to_string()));
        let dropout = self.dropout.map(|value| (DROPOUT, value.to_string()));
        let nonlinearity = self.nonlinearity.map(|value| (NONLINEARITY, word(value).to_owned()));
        let reset_after = self.reset_after.map(|value| (RESET_AFTER, value.to_string()));
        let reverse = self.reverse.map(|value| (REVERSE, value.to_string()));
        let names = |all: Vec<Activation>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let activations = self.activations.map(|all| (ACTIVATIONS, names(all)));
        let clip = self.clip.map(|value| (CLIP, value.to_string()));
        let input_forget = self.input_forget.map(|value| (INPUT_FORGET, value.to_string()));
        let of_form = [reverse, activations, clip, input_forget];
        let all = [batch_first, dropout, nonlinearity, reset_after].into_iter().chain(of_form).flatten();
        all.map(|(argument, text)| (format!("{prefix}{argument}"), text)).collect()
    }

    /// Sets what is recorded, of the arguments that the configuration's cell has.
    pub(crate) fn apply(self, config: &mut RecurrentConfig) {
        config.batch_first = self.batch_first.unwrap_or(config.batch_first);
        config.dropout = self.dropout.unwrap_or(config.dropout);
        if let Some(nonlinearity) = self.nonlinearity {
            config.cell = config.cell.with_nonlinearity(nonlinearity);
        }
        if let Some(reset_after) = self.reset_after {
            config.cell = config.cell.with_reset_after(reset_after);
        }
        config.reverse = self.reverse.unwrap_or(config.reverse);
        config.form.clip = self.clip.or(config.form.clip);
        config.form.input_forget = self.input_forget.unwrap_or(config.form.input_forget);
        if let Some(activations) = self.activations {
            config.form.activations = activations;
        }
    }

    /// Compares with a configuration. Dropout is a choice of each training, and not compared.
    pub(crate) fn differences(self, config: &RecurrentConfig) -> Vec<ArgumentMismatch> {
        let (own, recorded) = (Self::of(Naming::Layer, config), self);
        let mut mismatches = Vec::new();
        let mut compare = |argument, expected: Option<String>, got: Option<String>| {
            // An argument that the cell does not have, or that the file does not record, contradicts nothing.
            if let (Some(expected), Some(got)) = (expected, got)
                && expected != got
            {
                mismatches.push(ArgumentMismatch { argument, expected, got });
            }
        };
        let truth = |value: Option<bool>| value.map(|value| value.to_string());
        let word = |value: Option<Nonlinearity>| value.map(|value| word(value).to_owned());
        compare(BATCH_FIRST, truth(own.batch_first), truth(recorded.batch_first));
        compare(NONLINEARITY, word(own.nonlinearity), word(recorded.nonlinearity));
        compare(RESET_AFTER, truth(own.reset_after), truth(recorded.reset_after));
        compare(REVERSE, Some(config.reverse.to_string()), truth(recorded.reverse));
        compare(INPUT_FORGET, Some(config.form.input_forget.to_string()), truth(recorded.input_forget));
        let clip = |value: Option<f32>| value.map(|value| value.to_string());
        compare(CLIP, clip(own.clip).or(Some("none".to_owned())), clip(recorded.clip));
        let names = |all: Option<Vec<Activation>>| all.map(|all| format!("{all:?}"));
        compare(ACTIVATIONS, names(own.activations).or(Some("PyTorch's".to_owned())), names(recorded.activations));
        mismatches
    }
}

fn word(nonlinearity: Nonlinearity) -> &'static str {
    match nonlinearity {
        Nonlinearity::Tanh => "tanh",
        Nonlinearity::Relu => "relu",
    }
}
