//! Optimisers: what changes the parameters of layers, and of the program around them, by their gradients.

pub(crate) mod checkpoint;
mod moments;
mod on_device;
mod on_host;
mod resident;
pub(crate) mod rule;
mod run;
pub(crate) mod step;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::blocking::Wait;
use crate::error::{Error, Result};
use crate::gpu::context::Context;
use crate::optim::moments::Moments;
use crate::optim::resident::{Owner, Resident};
use crate::optim::rule::{Rule, check};
use crate::optim::step::Step;
use crate::real::Real;

/// An optimiser: a rule ([`Sgd`](crate::Sgd), [`Adam`](crate::Adam) or [`AdamW`](crate::AdamW)), and what it keeps for
/// each parameter between its steps.
///
/// A step changes any number of layers and tensors together, each under a name of the program's choice, which is the
/// name of its state in [checkpoints](Self::save).
///
/// What it keeps of a layer on a GPU is there, too: as many bytes as the weights for SGD, twice as many for Adam.
///
/// ```
/// use wgpu_rnn::{AdamW, Device, Lstm, LstmConfig, Optimizer, Tensor};
///
/// let mut lstm = Lstm::random(LstmConfig::new(3, 4), 0)?.to(&Device::cpu())?;
/// let mut head = Tensor::new([4], [0.1, -0.2, 0.3, 0.4])?; // the program's own: y = head · h
/// let mut optimizer = Optimizer::new(AdamW::new().with_weight_decay(1e-3))?;
///
/// let x = Tensor::new([5, 3], [0.5; 15])?; // [T, I]
/// for epoch in 0..3 {
///     let pass = lstm.forward_train(&x, None)?;
///     let h = pass.state().h.data();
///     let y: f32 = h.iter().zip(head.data()).map(|(h, w)| h * w).sum();
///     let error = y - 1.0; // the loss is error² / 2
///     let of_head = Tensor::new([4], h.iter().map(|h| error * h).collect::<Vec<_>>())?;
///     let mut of_state = pass.state().clone();
///     of_state.h = Tensor::new([1, 4], head.data().iter().map(|w| error * w).collect::<Vec<_>>())?;
///     of_state.c = Tensor::zeros([1, 4])?;
///
///     let gradients = pass.backward(None, &of_state)?;
///     let lr = 1e-2; // a schedule is the program's own
///     let mut step = optimizer.step(lr).clip_norm(1.0);
///     step.layer("lstm.", &mut lstm, gradients.weights()).tensor("head", &mut head, &of_head);
///     let norm = step.run()?; // of all gradients together, before clipping
///     assert!(norm.is_finite());
/// }
/// let trained = lstm.to_layer()?; // to save: trained.save_safetensors(path, "")
/// # assert_eq!(trained.layers().len(), 1);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
pub struct Optimizer<F: Real = f32> {
    rule: Rule,
    /// What is kept on the host, by the parameters' names.
    moments: BTreeMap<String, Moments<F>>,
    /// What is kept on GPUs.
    residents: Vec<Resident>,
}

impl<F: Real> Optimizer<F> {
    /// Creates an optimiser that has not stepped yet.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a number that `torch.optim` rejects.
    pub fn new(rule: impl Into<Rule>) -> Result<Self> {
        let rule = rule.into();
        rule.validate()?;
        Ok(Self { rule, moments: BTreeMap::new(), residents: Vec::new() })
    }

    /// Returns the rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Changes the rule for later steps, as a schedule of momentum does; what is kept for each parameter stays.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); [`Error::Unsupported`](crate::Error::Unsupported) for a rule that keeps other
    /// arrays, such as Adam after SGD.
    pub fn set_rule(&mut self, rule: impl Into<Rule>) -> Result<()> {
        let rule = rule.into();
        rule.validate()?;
        if rule.arrays() != self.rule.arrays() {
            let why = format!("the steps so far kept {:?}", self.rule.arrays());
            return Err(Error::Unsupported { what: format!("a change of {:?} to {rule:?}", self.rule), why });
        }
        self.rule = rule;
        Ok(())
    }

    /// Begins a step with the learning rate `lr`, which changes nothing until it is [run](Step::run).
    pub fn step(&mut self, lr: f64) -> Step<'_, F> {
        Step::new(self, check("lr", "a finite number of at least 0", lr, lr >= 0.0 && lr.is_finite()).map(|()| lr))
    }

    /// Returns the number of values of a parameter that something is kept for.
    fn size_of_state(&self, name: &str) -> Option<u64> {
        let on_host = self.moments.get(name).and_then(|moments| moments.arrays.first()).map(|array| array.len() as u64);
        let parameters = self.residents.iter().flat_map(|resident| resident.owner.parameters());
        on_host.or_else(|| parameters.into_iter().find(|(other, _)| other == name).map(|(_, elements)| elements))
    }

    /// Brings what is kept on GPUs to the host, where it belongs to no owner, but to parameters.
    async fn bring_to_host(&mut self, which: impl Fn(&Resident) -> bool, wait: Wait) -> Result<()> {
        while let Some(at) = self.residents.iter().position(&which) {
            let moments = self.residents[at].read(wait).await?;
            self.residents.remove(at);
            self.moments.extend(moments);
        }
        Ok(())
    }

    /// Returns what is kept for the parameters of an owner on a device: what is there, otherwise a copy of what is on
    /// the host, otherwise what the first step starts from.
    async fn resident(&self, context: &Arc<Context>, owner: Owner, wait: Wait) -> Result<Resident> {
        if let Some(resident) = self.residents.iter().find(|resident| resident.is_of(context, &owner)) {
            return Ok(resident.clone());
        }
        let parameters = owner.parameters();
        let kept: Vec<_> = parameters.iter().filter_map(|(name, _)| self.moments.get(name)).collect();
        let Some(first) = kept.first() else {
            return Resident::zeros(context, owner, self.rule.arrays().len()).await;
        };
        if kept.len() < parameters.len() || kept.iter().any(|moments| moments.step != first.step) {
            let what = format!("a step of {} on a GPU", parameters[0].0);
            let why = "the parameters of its layer have taken different numbers of steps".to_owned();
            return Err(Error::Unsupported { what, why });
        }
        Resident::upload(context, owner, &kept, wait).await
    }

    /// Keeps what a step on a GPU has changed, instead of what was kept before.
    fn keep(&mut self, resident: Resident) {
        for (name, _) in resident.owner.parameters() {
            self.moments.remove(&name);
        }
        self.residents.retain(|other| !other.is_of(&resident.context, &resident.owner));
        self.residents.push(resident);
    }
}

/// Writes the rule and the number of parameters; numbers are not printed.
impl<F: Real> fmt::Debug for Optimizer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on_gpus: usize = self.residents.iter().map(|resident| resident.owner.parameters().len()).sum();
        write!(f, "Optimizer({:?}, {} parameters)", self.rule, self.moments.len() + on_gpus)
    }
}
