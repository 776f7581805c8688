//! The running of a step: everything that can fail comes before anything changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::blocking::Wait;
use crate::device::needs_gpu;
use crate::error::{Error, Result};
use crate::gpu::arrays::BufferRange;
use crate::gpu::context::Context;
use crate::gpu::optim::{Clip, DeviceStep, Slot};
use crate::layer::buffers::DeviceArray;
use crate::layer::need::Need;
use crate::memory::reserved;
use crate::optim::moments::Moments;
use crate::optim::resident::Resident;
use crate::optim::rule::check;
use crate::optim::step::Step;
use crate::plan::optim::params::SlotParams;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::check_finite;

/// The share of a step of one GPU.
struct OnDevice {
    step: DeviceStep,
    /// What is kept for its targets after the step.
    residents: Vec<Resident>,
}

/// Returns parameters that overlap with others of the step, or with the gradients of others.
fn overlap(slots: &[Slot]) -> Option<&BufferRange> {
    let overlaps = |n: usize, slot: &Slot| {
        let others = slots.iter().enumerate().filter(|(other, _)| *other != n);
        others.flat_map(|(_, other)| [&other.parameter, &other.gradient]).any(|other| other.overlaps(&slot.parameter))
    };
    slots.iter().enumerate().find(|(n, slot)| overlaps(*n, slot)).map(|(_, slot)| &slot.parameter)
}

impl<F: Real> Step<'_, F> {
    /// Runs the step. Returns the norm of all gradients together, before it was limited.
    pub(super) async fn apply(&mut self, wait: Wait) -> Result<f64> {
        let lr = self.begin(wait).await?;
        let mut devices = self.on_devices(lr, false, wait).await?;

        let mut squares = self.squares_on_host();
        for OnDevice { step, .. } in &devices {
            squares += f64::from(step.run_norm(wait).await?.squares);
        }
        let norm = squares.sqrt();
        if !norm.is_finite() {
            return Err(self.not_finite(norm, wait).await);
        }
        let scale = self.scale(norm);
        if !self.on_host.is_empty() || devices.len() > 1 {
            for OnDevice { step, .. } in &devices {
                let (squares, norm, scale) = (squares as f32, norm as f32, scale as f32);
                step.set_clip(Clip { squares, norm, scale, steps: 1 }, wait).await?;
            }
        }
        let moments = self.prepare_on_host(lr, F::from_f64(scale), wait).await?;
        for OnDevice { step, .. } in &devices {
            step.run_update().await?;
        }
        // From here on nothing can fail.
        self.on_host.iter_mut().for_each(|target| target.commit());
        self.optimizer.moments.extend(moments);
        self.commit_on_devices(devices.iter_mut().flat_map(|device| device.residents.drain(..)));
        Ok(norm)
    }

    /// Records the step.
    pub(super) async fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        norm: Option<DeviceArray<'_>>,
        wait: Wait,
    ) -> Result<()> {
        let lr = self.begin(wait).await?;
        if !self.on_host.is_empty() {
            return Err(needs_gpu("recording a step"));
        }
        let norm = norm.map(|norm| {
            let need = Need::target("norm", norm, size_of::<f32>() as u64);
            need.check().map(|()| need.range())
        });
        let norm = norm.transpose()?;
        let mut devices = self.on_devices(lr, true, wait).await?.into_iter();
        let Some(OnDevice { step, residents }) = devices.next() else {
            // The norm of nothing.
            norm.into_iter().for_each(|norm| encoder.clear_buffer(&norm.buffer, norm.offset, Some(norm.bytes)));
            return Ok(());
        };
        if devices.next().is_some() {
            let why = "an encoder belongs to one; record a step for each".to_owned();
            return Err(Error::Unsupported { what: "recording a step over several GPUs".to_owned(), why });
        }
        if let Some(norm) = norm.as_ref().filter(|norm| step.uses(norm)) {
            let got = format!("bytes {}..{} of it", norm.offset, norm.offset + norm.bytes);
            return Err(Error::Buffer { name: "norm", expected: "a range apart from the step's".to_owned(), got });
        }
        step.record(encoder, norm.as_ref()).await?;
        self.commit_on_devices(residents.into_iter());
        Ok(())
    }

    /// Checks the arguments, and brings what is kept to where it is needed. Returns the learning rate.
    async fn begin(&mut self, wait: Wait) -> Result<f64> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let lr = std::mem::replace(&mut self.lr, Ok(0.0))?;
        for (argument, limit) in [("clip_value", self.clip_value), ("clip_norm", self.clip_norm)] {
            if let Some(limit) = limit {
                check(argument, "a number of at least 0", limit, limit >= 0.0)?;
            }
        }
        for target in &mut self.on_host {
            target.fetch(wait).await?;
        }
        let names = self.check_parameters()?;
        // What is kept elsewhere than a target now is goes to the host first.
        let mut there = Vec::new();
        for target in &self.on_device {
            there.push((Arc::clone(target.context()?), target.owner()));
        }
        let stays = |resident: &Resident| there.iter().any(|(context, owner)| resident.is_of(context, owner));
        self.optimizer.bring_to_host(|resident| !stays(resident) && resident.has_one_of(&names), wait).await?;
        Ok(lr)
    }

    /// Checks that names are unique, and that gradients and states have the shapes of their parameters. Returns the
    /// names.
    fn check_parameters(&self) -> Result<BTreeSet<String>> {
        let of_device = self.on_device.iter().flat_map(|target| target.owner().parameters());
        let mut parameters: Vec<(String, u64)> = of_device.collect();
        for (name, parameter, gradient) in self.on_host.iter().flat_map(|target| target.parameters()) {
            if gradient.shape() != parameter.shape() {
                let expected = format!("{:?}, its shape", parameter.shape());
                let what = format!("the gradient of {name}");
                return Err(Error::Shape { what, expected, got: gradient.shape().to_vec() });
            }
            parameters.push((name, parameter.data().len() as u64));
        }
        let mut names = BTreeSet::new();
        for (name, expected) in parameters {
            if let Some(got) = self.optimizer.size_of_state(&name).filter(|&got| got != expected) {
                let (what, expected) = (format!("the optimiser's state of {name}"), format!("{expected} values"));
                return Err(Error::Shape { what, expected, got: vec![got as usize] });
            }
            if !names.insert(name.clone()) {
                return Err(Error::Config { argument: "name", expected: "a name for each parameter", got: name });
            }
        }
        Ok(names)
    }

    /// Prepares the steps of all GPUs.
    async fn on_devices(&mut self, lr: f64, in_place: bool, wait: Wait) -> Result<Vec<OnDevice>> {
        let mut devices: Vec<(Arc<Context>, Vec<usize>)> = Vec::new();
        for (number, target) in self.on_device.iter().enumerate() {
            let context = target.context()?;
            match devices.iter_mut().find(|(other, _)| other.gpu.device == context.gpu.device) {
                Some((_, targets)) => targets.push(number),
                None => devices.push((Arc::clone(context), vec![number])),
            }
        }
        let (rule, clip_value) = (self.optimizer.rule, self.clip_value.map_or(f32::MAX, |limit| limit as f32));
        let clip_norm = self.clip_norm.map_or(f32::MAX, |limit| limit as f32);
        let mut steps = Vec::new();
        for (context, targets) in devices {
            let (mut slots, mut residents) = (Vec::new(), Vec::new());
            for number in targets {
                let target = &mut self.on_device[number];
                target.prepare(in_place, wait).await?;
                let mut resident = self.optimizer.resident(&context, target.owner(), wait).await?;
                resident.step = resident.step.saturating_add(1);
                let params = rule.slot_params(lr, resident.step);
                slots.extend(target.slots(&resident.arrays, SlotParams { clip_value, ..params })?);
                residents.push(resident);
            }
            if let Some(range) = overlap(&slots) {
                let got = format!("bytes {}..{} twice", range.offset, range.offset + range.bytes);
                let expected = "arrays of a step apart from each other".to_owned();
                return Err(Error::Buffer { name: "parameter", expected, got });
            }
            let step = DeviceStep::new(&context, rule.kernel(), &slots, clip_norm).await?;
            steps.push(OnDevice { step, residents });
        }
        Ok(steps)
    }

    /// Keeps what the steps of GPUs have changed.
    fn commit_on_devices(&mut self, residents: impl Iterator<Item = Resident>) {
        self.on_device.iter_mut().for_each(|target| target.commit());
        residents.for_each(|resident| self.optimizer.keep(resident));
    }

    /// Returns the error for gradients of which one is NaN or infinite.
    async fn not_finite(&mut self, norm: f64, wait: Wait) -> Error {
        for (name, _, gradient) in self.on_host.iter().flat_map(|target| target.parameters()) {
            if let Err(error) = check_finite(&format!("the gradient of {name}"), gradient) {
                return error;
            }
        }
        for target in &mut self.on_device {
            if let Err(error) = target.check_finite(wait).await {
                return error;
            }
        }
        Error::NonFinite { name: "the norm of all gradients".to_owned(), index: Vec::new(), value: norm }
    }

    fn clipped(&self) -> impl Fn(F) -> F + use<F> {
        let most = self.clip_value.map(F::from_f64);
        move |g| match most {
            Some(most) if g > most => most,
            Some(most) if g < F::zero() - most => F::zero() - most,
            // NaN is neither, and stays.
            _ => g,
        }
    }

    /// Returns the sum of the squares of the gradients on the host.
    fn squares_on_host(&self) -> f64 {
        let clipped = self.clipped();
        let square = |g: &F| clipped(*g).to_f64() * clipped(*g).to_f64();
        let parameters = self.on_host.iter().flat_map(|target| target.parameters());
        parameters.map(|(_, _, gradient)| gradient.data().iter().map(square).sum::<f64>()).sum()
    }

    /// Returns the factor that limits a norm.
    fn scale(&self, norm: f64) -> f64 {
        self.clip_norm.map_or(1.0, |most| if norm <= most { 1.0 } else { (most / (norm + 1e-6)).min(1.0) })
    }

    /// Prepares the new values of everything on the host, and returns what is kept of them for the next step.
    async fn prepare_on_host(&mut self, lr: f64, scale: F, wait: Wait) -> Result<BTreeMap<String, Moments<F>>> {
        let clipped = self.clipped();
        let mut moments = BTreeMap::new();
        for target in &mut self.on_host {
            let parameters = target.parameters();
            let mut values = reserved("the parameters of a step", &[parameters.len()])?;
            for (name, parameter, gradient) in parameters {
                let before = self.optimizer.moments.get(&name);
                let limited = |g| clipped(g) * scale;
                let rule = &self.optimizer.rule;
                let (value, after) = rule.apply(lr, parameter.data(), gradient.data(), limited, before)?;
                values.push(Tensor::new(parameter.shape(), value)?);
                moments.insert(name, after);
            }
            target.prepare(values, wait).await?;
        }
        Ok(moments)
    }
}
