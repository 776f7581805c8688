//! The arrays of a program in device memory: each name stands for a range of a buffer.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::transfer::buffer;
use crate::plan::optim::OptimArray;
use crate::plan::program::{Array, Name};

/// A range of a buffer, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BufferRange {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl BufferRange {
    pub(crate) fn whole(buffer: wgpu::Buffer) -> Self {
        let bytes = buffer.size();
        Self { buffer, offset: 0, bytes }
    }

    pub(crate) fn binding(&self) -> wgpu::BindingResource<'_> {
        let size = std::num::NonZeroU64::new(self.bytes);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset: self.offset, size })
    }

    /// Returns true if both have bytes in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (end, end_of_other) = (self.offset + self.bytes, other.offset + other.bytes);
        self.buffer == other.buffer && self.offset < end_of_other && other.offset < end
    }

    /// Returns the first `bytes` bytes of the range.
    pub(crate) fn first(&self, bytes: u64) -> Self {
        Self { bytes: bytes.min(self.bytes), ..self.clone() }
    }
}

/// Arrays by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrays(Vec<(Name, BufferRange)>);

impl Arrays {
    /// Creates buffers for the arrays of a table that are missing. They contain zeros, as wgpu initializes every
    /// buffer.
    pub(crate) async fn add_missing(&mut self, gpu: &GuardedDevice, table: &[Array]) -> Result<()> {
        let missing: Vec<_> = table.iter().filter(|array| self.find(array.name).is_none()).collect();
        let make = || -> Vec<_> {
            let of = |array: &&Array| {
                let buffer = buffer(&gpu.device, &label(array.name), array.bytes.max(4), usages(array.name));
                (array.name, BufferRange { buffer, offset: 0, bytes: array.bytes })
            };
            missing.iter().map(of).collect()
        };
        self.0.extend(gpu.scoped("creating the buffers of a forward", make).await?);
        Ok(())
    }

    /// Sets an array, replacing any existing one of that name.
    pub(crate) fn set(&mut self, name: Name, range: BufferRange) {
        match self.0.iter_mut().find(|(of, _)| *of == name) {
            Some((_, old)) => *old = range,
            None => self.0.push((name, range)),
        }
    }

    /// Adds the arrays of another table whose names are not in this one.
    pub(crate) fn adopt(&mut self, other: &Self) {
        let missing: Vec<_> = other.0.iter().filter(|(name, _)| self.find(*name).is_none()).cloned().collect();
        self.0.extend(missing);
    }

    /// Returns those of some names.
    pub(crate) fn some(&self, names: impl Iterator<Item = Name>) -> Result<Self> {
        names.map(|name| Ok((name, self.get(name)?.clone()))).collect::<Result<_>>().map(Self)
    }

    /// Adds the arrays of another table, replacing those of their names.
    pub(crate) fn replace(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, range)| self.set(*name, range.clone()));
    }

    /// Returns true if any array overlaps a range.
    pub(crate) fn overlap(&self, range: &BufferRange) -> bool {
        self.0.iter().any(|(_, other)| other.overlaps(range))
    }

    pub(crate) fn find(&self, name: Name) -> Option<&BufferRange> {
        self.0.iter().find(|(of, _)| *of == name).map(|(_, range)| range)
    }

    /// Returns the range of an array of the program.
    pub(crate) fn get(&self, name: Name) -> Result<&BufferRange> {
        self.find(name).ok_or_else(|| missing(name))
    }

    /// Returns part of an array: its buffer, and the range of bytes in it.
    pub(crate) fn part(&self, name: Name, range: Range<u64>) -> Result<(&wgpu::Buffer, Range<u64>)> {
        let BufferRange { buffer, offset, .. } = self.get(name)?;
        Ok((buffer, offset + range.start..offset + range.end))
    }

    /// Returns true if each array of a table exists and is large enough.
    pub(crate) fn fit(&self, table: &[Array]) -> bool {
        table.iter().all(|array| self.find(array.name).is_some_and(|range| range.bytes >= array.bytes))
    }

    /// Returns a table with the larger of the sizes in `table` and here.
    pub(crate) fn at_least(&self, table: &[Array]) -> Vec<Array> {
        let of = |array: &Array| {
            let here = self.find(array.name).map_or(0, |range| range.bytes);
            Array { bytes: array.bytes.max(here), ..*array }
        };
        table.iter().map(of).collect()
    }
}

/// Returns the error for an array that the program's table lacks, which would be a bug in the program's writer.
pub(crate) fn missing(name: Name) -> Error {
    Error::Gpu { during: "looking up an array", message: format!("{name} is missing") }
}

fn label(name: Name) -> String {
    match name {
        Name::Input => "input".to_owned(),
        Name::Output => "output".to_owned(),
        Name::State(0) => "h_n".to_owned(),
        Name::State(_) => "c_n".to_owned(),
        Name::Readback => "readback".to_owned(),
        Name::Gx => "gx".to_owned(),
        Name::H => "h".to_owned(),
        other => other.to_string(),
    }
}

fn usages(name: Name) -> wgpu::BufferUsages {
    use wgpu::BufferUsages as Use;
    match name {
        // The caller's own.
        Name::GivenState(_) | Name::LastState(_) | Name::LastStateGradient(_) | Name::InitialStateGradient(_) => {
            Use::COPY_SRC | Use::COPY_DST
        }
        Name::Input | Name::H | Name::Call => Use::STORAGE | Use::COPY_DST,
        Name::Output | Name::LayerOutput(_) => Use::STORAGE | Use::COPY_SRC,
        Name::State(_) => Use::STORAGE | Use::COPY_DST | Use::COPY_SRC,
        Name::Gx | Name::Raw | Name::Gated | Name::Gates | Name::DhRows | Name::Projected => Use::STORAGE,
        Name::OutputGradient | Name::LayerOutputGradient(_) => Use::STORAGE | Use::COPY_DST,
        Name::InputGradient | Name::StateGradient(_) | Name::WeightGradient { .. } => {
            Use::STORAGE | Use::COPY_DST | Use::COPY_SRC
        }
        // Those of parameters, gradients and moments exist already.
        Name::Optim(OptimArray::Squares) => Use::STORAGE,
        Name::Optim(OptimArray::ParamsSource) => Use::MAP_WRITE | Use::COPY_SRC,
        Name::Optim(_) => Use::STORAGE | Use::COPY_DST | Use::COPY_SRC,
        Name::Weights { .. } | Name::AllWeights(_) => Use::STORAGE | Use::COPY_DST,
        Name::Params => Use::UNIFORM | Use::COPY_DST,
        Name::InitialState(_) => Use::STORAGE | Use::COPY_SRC | Use::COPY_DST,
        Name::CallSource | Name::Transit(_) => Use::COPY_SRC | Use::COPY_DST,
        Name::Readback => Use::MAP_READ | Use::COPY_DST,
    }
}
