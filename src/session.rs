//! States that stay where the model runs, moved on call by call: the engine of streams and cells.

use std::ops::Range;

use crate::blocking::Wait;
use crate::call::{Call, StateArrays};
use crate::config::RecurrentConfig;
use crate::cpu::session::CpuSession;
use crate::error::{Error, Result};
use crate::gpu::session::{self, GpuSession};
use crate::memory::{element_count, zeroed};
use crate::model::{Engine, PlacedModel};
use crate::real::Real;

/// The states of many rows of a model.
#[derive(Debug)]
pub(crate) struct Session<F> {
    pub(crate) config: RecurrentConfig,
    state_arrays: StateArrays,
    resident: Resident<F>,
}

#[derive(Debug)]
enum Resident<F> {
    Cpu(CpuSession<F>),
    Gpu(Box<GpuSession>),
}

/// The input of a push.
pub(crate) enum Input<'a, F> {
    Host(&'a [F]),
    /// h of another session, of one layer and direction, where it is.
    HOf(&'a Session<F>),
}

impl<F: Real> Session<F> {
    /// Creates zero states for `rows` > 0 rows. Tiles are chosen for this number, and stay when it grows.
    /// `reads_output` says whether pushes give their output.
    pub(crate) async fn new(model: &PlacedModel<F>, rows: usize, reads_output: bool) -> Result<Self> {
        let state_arrays = StateArrays { rows, tile_batch: rows };
        let resident = match &model.engine {
            Engine::Cpu(model) => Resident::Cpu(CpuSession::new(model, rows)?),
            Engine::Gpu(model) => Resident::Gpu(GpuSession::new(model, state_arrays, reads_output).await?.into()),
        };
        Ok(Self { config: model.config.clone(), state_arrays, resident })
    }

    /// Returns the number of rows that there is room for.
    pub(crate) fn rows(&self) -> usize {
        self.state_arrays.rows
    }

    /// Runs a checked chunk. Gives the output if this session reads it.
    pub(crate) async fn push(&mut self, call: Call, input: Input<'_, F>, wait: Wait) -> Result<Vec<F>> {
        let call = call.over(self.state_arrays);
        let output_shape = call.extents().shape(self.config.output_size());
        element_count::<F>("output", &output_shape)?;
        let rows = call.extents().batch;
        match (&mut self.resident, input) {
            _ if call.extents().is_empty() => zeroed("output", &output_shape),
            (Resident::Cpu(session), Input::Host(input)) => {
                wait.let_others_run().await;
                session.push(&call, input)
            }
            (Resident::Cpu(session), Input::HOf(Self { resident: Resident::Cpu(other), .. })) => {
                wait.let_others_run().await;
                session.push(&call, other.h(rows))
            }
            (Resident::Gpu(session), Input::Host(input)) => {
                session.push(&call, session::Input::Host(input), wait).await
            }
            (Resident::Gpu(session), Input::HOf(Self { resident: Resident::Gpu(other), .. })) => {
                session.push::<F>(&call, session::Input::Device(other.h(rows)?), wait).await
            }
            (_, Input::HOf(_)) => Err(elsewhere()),
        }
    }

    /// Checks that the states of `other` are where pushes to this session can read them.
    pub(crate) fn check_reads(&self, other: &Self) -> Result<()> {
        match (&self.resident, &other.resident) {
            (Resident::Cpu(_), Resident::Cpu(_)) => Ok(()),
            (Resident::Gpu(session), Resident::Gpu(other)) if session.shares_device(other) => Ok(()),
            _ => Err(elsewhere()),
        }
    }

    /// Returns whether the states belong to this very model, not only to one of its shape.
    pub(crate) fn is_of(&self, model: &PlacedModel<F>) -> bool {
        match (&self.resident, &model.engine) {
            (Resident::Cpu(session), Engine::Cpu(model)) => session.is_of(model),
            (Resident::Gpu(session), Engine::Gpu(model)) => session.is_of(model),
            _ => false,
        }
    }

    /// Reads the states of some rows, one range after another: each `[L·D, rows, ·]`, h first.
    pub(crate) async fn read(&self, rows: &[Range<usize>], wait: Wait) -> Result<Vec<Vec<F>>> {
        match &self.resident {
            // A copy of no bytes is an error on a device.
            _ if rows.iter().all(Range::is_empty) => Ok(vec![Vec::new(); self.config.cell.states().len()]),
            Resident::Cpu(session) => session.read(rows),
            Resident::Gpu(session) => session.read(rows, wait).await,
        }
    }

    /// Sets the states of some rows, one range after another: each `[L·D, rows, ·]`; zeros if `None`.
    pub(crate) async fn write(&mut self, rows: &[Range<usize>], states: Option<&[&[F]]>, wait: Wait) -> Result<()> {
        match &mut self.resident {
            _ if rows.iter().all(Range::is_empty) => {}
            Resident::Cpu(session) => session.write(rows, states),
            Resident::Gpu(session) => session.write(rows, states, wait).await?,
        }
        Ok(())
    }

    /// Makes room for `rows` rows; existing rows keep their states, new ones start from zeros.
    pub(crate) async fn grow(&mut self, rows: usize) -> Result<()> {
        match &mut self.resident {
            Resident::Cpu(session) => session.grow(rows)?,
            Resident::Gpu(session) => session.grow(rows).await?,
        }
        self.state_arrays.rows = rows;
        Ok(())
    }
}

fn elsewhere() -> Error {
    let expected = "an array on the host or a state on the device of the cell";
    Error::Config { argument: "input", expected, got: "a state on another device".to_owned() }
}
