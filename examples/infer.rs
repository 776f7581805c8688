//! Runs any LSTM, GRU or RNN from a file of PyTorch, ONNX, Keras or NumPy over the input in another file.
//!
//! cargo run --release --example infer -- --model m.safetensors --input in.safetensors --output out.safetensors

#[path = "common/files.rs"]
mod files;
#[path = "common/input.rs"]
mod input;
#[path = "common/place.rs"]
mod place;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use wgpu_rnn::{Imported, Kind, Placed};

use crate::files::{Files, Results, Work, say};
use crate::input::{Input, InputFile};

/// Runs an LSTM, GRU or RNN from a file of PyTorch, ONNX, Keras or NumPy over the input in another file.
///
/// The input file holds `input`, [T, B, I] or unbatched [T, I]. Optional are the initial state, [L·D, B, H] or
/// unbatched [L·D, H] (for h_0 of an LSTM with a projection, P instead of H): `h_0` and `c_0` for an LSTM, both or
/// neither, `h_0` for the others; and `lengths`, int64 [B], if rows have different numbers of time steps. Beyond the
/// end of a row the output is 0. The output file receives `output`, `h_n` and, for an LSTM, `c_n`, as float32.
///
/// This is PyTorch's arrangement, whatever the model's own. The output is that of all steps. Of a Bidirectional layer of
/// Keras, it is merged as its merge_mode says; with go_backwards it is in the order of the steps. A state or lengths that
/// the model itself gives apply unless the input file has others.
///
/// Exit status: 0 success, 1 bad model, input or device, 2 bad arguments. On failure no output file is written.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    files: Files,
}

struct Infer;

impl Work for Infer {
    fn run<K: Kind>(
        self,
        layer: &Placed<K>,
        input: &Input<K>,
        _: &InputFile<'_>,
        imported: &Imported,
    ) -> Result<Results> {
        let Input { input, state, lengths } = input;
        let start = Instant::now();
        let mut request = layer.request(input).state(state.as_ref());
        if let Some(lengths) = lengths {
            request = request.lengths(lengths);
        }
        let (output, last) = request.run()?;
        let elapsed = start.elapsed();
        let output = imported.finish(&output)?;
        let last = K::arrays(&last);
        say!("output  {:?}, each state {:?}", output.shape(), last[0].shape());
        let first = if layer.device().is_gpu() { ", including shader compilation" } else { "" };
        say!("time    {:.3} ms{first}", elapsed.as_secs_f64() * 1e3);

        let states = ["h_n", "c_n"].into_iter().zip(last);
        let states = states.map(|(name, state)| (name.to_owned(), state.clone()));
        Ok([("output".to_owned(), output)].into_iter().chain(states).collect())
    }
}

fn main() -> ExitCode {
    Arguments::parse().files.main(Infer)
}
