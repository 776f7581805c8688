//! Computes the gradients of any LSTM, GRU or RNN from a file of PyTorch, ONNX, Keras or NumPy, for the input in another
//! file.
//!
//! cargo run --release --example gradients -- --model m.safetensors --input in.safetensors --output out.safetensors

#[path = "common/files.rs"]
mod files;
#[path = "common/input.rs"]
mod input;
#[path = "common/place.rs"]
mod place;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use wgpu_rnn::{Imported, Kind, Merge, Placed, Tensor};

use crate::files::{Files, Results, Work, say};
use crate::input::{Input, InputFile};

/// Computes the gradients of an LSTM, GRU or RNN from a file of PyTorch, ONNX, Keras or NumPy, or a safetensors file,
/// for the input in another file.
///
/// The input file holds `input`, [T, B, I] or unbatched [T, I], and at least one of the gradients with respect to the
/// results, each in the shape of its result: `grad_output`, `grad_h_n` and, for an LSTM, `grad_c_n`. Those that are
/// absent are zero. Optional are the initial state, [L·D, B, H] or unbatched [L·D, H] (for h_0 of an LSTM with a
/// projection, P instead of H): `h_0` and `c_0` for an LSTM, both or neither, `h_0` for the others; and `lengths`,
/// int64 [B], if rows have different numbers of time steps. Beyond the end of a row nothing is read, and the gradient
/// of the input is 0.
///
/// The output file receives `grad_input`; `grad_h_0` and, for an LSTM, `grad_c_0`, if an initial state is given; and
/// `grad_{parameter}` for each parameter by PyTorch's name without the prefix, such as `grad_weight_ih_l0`, all of them
/// as float32 in PyTorch's shapes.
///
/// Layers of Keras with a merge_mode other than concat or with go_backwards, and forms that PyTorch's layers lack, have
/// no gradients here: an error names what stands in the way.
///
/// Exit status: 0 success, 1 bad model, input or device, 2 bad arguments. On failure no output file is written.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    files: Files,
}

struct Differentiate;

impl Work for Differentiate {
    fn inputs(&self) -> &'static [&'static str] {
        &["grad_output", "grad_h_n", "grad_c_n"]
    }

    fn run<K: Kind>(
        self,
        layer: &Placed<K>,
        input: &Input<K>,
        file: &InputFile<'_>,
        imported: &Imported,
    ) -> Result<Results> {
        let around = match (imported.merge(), imported.go_backwards()) {
            (Merge::Concat, false) => None,
            (Merge::Concat, true) => Some("go_backwards=True".to_owned()),
            (merge, _) => Some(format!("merge_mode={}", format!("{merge:?}").to_lowercase())),
        };
        if let Some(around) = around {
            bail!("gradients through {around} of Keras are not supported");
        }
        let of_output = file.tensor("grad_output")?;
        let of_states = file.state::<K>(["grad_h_n", "grad_c_n"])?;
        let is_given = of_states.iter().any(|(_, tensor)| tensor.is_some());
        ensure!(
            of_output.is_some() || is_given,
            "the input file has no gradient to start from, at least one of: grad_output, {}",
            of_states.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        );

        let Input { input, state, lengths } = input;
        let start = Instant::now();
        let mut request = layer.request(input).state(state.as_ref());
        if let Some(lengths) = lengths {
            request = request.lengths(lengths);
        }
        let pass = request.train().run().context("the forward")?;
        let forward = start.elapsed();
        let states = of_states.into_iter().zip(K::arrays(pass.state()));
        let states = states.map(|((_, given), last)| given.map_or_else(|| Tensor::zeros(last.shape()), Ok));
        let of_state = K::state(states.collect::<wgpu_rnn::Result<_>>()?)?;
        say!("output  {:?}", pass.output().shape());
        let gradients = pass.backward(of_output.as_ref(), is_given.then_some(&of_state))?;
        let first = if layer.device().is_gpu() { ", including shader compilation" } else { "" };
        let (all, forward) = (start.elapsed().as_secs_f64() * 1e3, forward.as_secs_f64() * 1e3);
        say!("time    {all:.3} ms, of which the forward took {forward:.3}{first}");

        let mut results = vec![("grad_input".to_owned(), gradients.input().clone())];
        if state.is_some() {
            let initial = ["grad_h_0", "grad_c_0"].into_iter().zip(K::arrays(gradients.initial_state()));
            results.extend(initial.map(|(name, tensor)| (name.to_owned(), tensor.clone())));
        }
        results.extend(gradients.weights().named()?.map(|(name, tensor)| (format!("grad_{name}"), tensor.clone())));
        Ok(results)
    }
}

fn main() -> ExitCode {
    Arguments::parse().files.main(Differentiate)
}
