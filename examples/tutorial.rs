//! The first pages of PyTorch's tutorials on recurrent layers, in Rust: the shapes of a deep LSTM, cells chained by
//! hand, the two directions of an output, and an LSTM written with one Linear per gate.
//!
//! `cargo run --example tutorial`

use anyhow::Result;
use wgpu_rnn::{
    ConcatGates, Device, GateLinear, Lstm, LstmCell, LstmCellConfig, LstmConfig, LstmState, Rnn, RnnConfig, Tensor,
};

fn main() -> Result<()> {
    let device = Device::auto();
    println!("on {device}: {}", device.reason());
    deep_lstm(&device)?;
    two_cells(&device)?;
    directions(&device)?;
    linear_per_gate(&device)
}

/// `lstm = nn.LSTM(100, 20, num_layers=4)`, `x = torch.randn(1, 10, 100)`, `out, (h, c) = lstm(x, (h_0, c_0))`.
fn deep_lstm(device: &Device) -> Result<()> {
    let lstm = Lstm::random(LstmConfig::new(100, 20).with_num_layers(4).with_batch_first(true), 0)?.to(device)?;
    println!("\n{lstm}");
    let x = wave(&[1, 10, 100])?; // [B, T, I]
    let zeros = LstmState { h: Tensor::zeros([4, 1, 20])?, c: Tensor::zeros([4, 1, 20])? }; // [L, B, H]
    let (out, LstmState { h, c }) = lstm.forward(&x, &zeros)?;
    println!("  out {:?}, h {:?}, c {:?}", out.shape(), h.shape(), c.shape());
    assert_eq!((out.shape(), h.shape(), c.shape()), (&[1, 10, 20][..], &[4, 1, 20][..], &[4, 1, 20][..]));
    // The output is h of the last layer after each step.
    assert_eq!(out.row(&[0, 9]), h.row(&[3, 0]));
    Ok(())
}

/// `cell1 = nn.LSTMCell(100, 30)`, `cell2 = nn.LSTMCell(30, 20)`: at each step, h of the first is the input of the
/// second.
fn two_cells(device: &Device) -> Result<()> {
    let first = LstmCell::random(LstmCellConfig::new(100, 30), 1)?.to(device)?;
    let second = LstmCell::random(LstmCellConfig::new(30, 20), 2)?.to(device)?;
    println!("\n{first}, then {second}");
    let x = wave(&[10, 3, 100])?; // [T, B, I]
    let (mut one, mut two): (Option<LstmState>, Option<LstmState>) = (None, None);
    for t in 0..10 {
        let x_t = Tensor::new([3, 100], &x.data()[t * 300..(t + 1) * 300])?;
        let state = first.forward(&x_t, one.as_ref())?;
        two = Some(second.forward(&state.h, two.as_ref())?);
        one = Some(state);
    }
    let h = two.map(|state| state.h).unwrap_or(Tensor::zeros([3, 20])?);
    println!("  h of the second {:?}", h.shape());

    // The same cells as layers: the second reads the output of the first.
    let layer = |cell: &wgpu_rnn::PlacedLstmCell| {
        let (i, h) = (cell.config().input_size(), cell.config().hidden_size());
        Lstm::new(LstmConfig::new(i, h), vec![cell.cell().weights().clone()])?.to(device)
    };
    let (between, _) = layer(&first)?.forward(&x, None)?;
    let (output, _) = layer(&second)?.forward(&between, None)?;
    for b in 0..3 {
        close(h.row(&[b]), output.row(&[9, b]))?;
    }
    Ok(())
}

/// `rnn = nn.RNN(5, 4, bidirectional=True)`, `out.view(T, B, 2, H)`: the forward direction ends at the last step, the
/// reverse direction at the first.
fn directions(device: &Device) -> Result<()> {
    let rnn = Rnn::random(RnnConfig::new(5, 4).with_bidirectional(true), 3)?.to(device)?;
    println!("\n{rnn}");
    let (out, h) = rnn.forward(&wave(&[6, 2, 5])?, None)?;
    let (out, h) = (rnn.config().split_output(&out)?, rnn.config().split_state(&h)?);
    println!("  out {:?}, h {:?}", out.shape(), h.shape()); // [T, B, D, H], [L, D, B, H]
    for b in 0..2 {
        assert_eq!(out.row(&[5, b, 0]), h.row(&[0, 0, b]));
        assert_eq!(out.row(&[0, b, 1]), h.row(&[0, 1, b]));
    }
    Ok(())
}

/// `self.forget = nn.Linear(I + H, H)` and so on, over `torch.cat([x, h], 1)`: an LSTM written by hand.
fn linear_per_gate(device: &Device) -> Result<()> {
    let (i, h) = (3, 4);
    let linear = |seed: usize| -> Result<GateLinear> {
        let mut weight = wave(&[h, i + h])?;
        weight.data_mut().rotate_left(seed);
        Ok(GateLinear { weight, bias: Some(wave(&[h])?) })
    };
    let gates = ConcatGates { forget: linear(0)?, input: linear(3)?, output: linear(5)?, cell: linear(7)? };
    let lstm = Lstm::from_concat_gates(std::slice::from_ref(&gates))?.to(device)?;
    println!("\n{lstm}, one Linear per gate");
    let x = wave(&[5, i])?; // [T, I], unbatched
    let (output, _) = lstm.forward(&x, None)?;

    // The loop that people write by hand.
    let (mut h_t, mut c_t) = (vec![0.0_f32; h], vec![0.0_f32; h]);
    for t in 0..5 {
        let xh: Vec<f32> = x.row(&[t]).into_iter().flatten().chain(&h_t).copied().collect();
        let sum = |gate: &GateLinear, unit: usize| {
            let bias = gate.bias.as_ref().and_then(|bias| bias.get(&[unit])).unwrap_or(0.0);
            let weights = gate.weight.row(&[unit]).into_iter().flatten();
            weights.zip(&xh).fold(bias, |sum, (w, v)| sum + w * v)
        };
        let sigmoid = |v: f32| 1.0 / (1.0 + (-v).exp());
        for unit in 0..h {
            let (f, i) = (sigmoid(sum(&gates.forget, unit)), sigmoid(sum(&gates.input, unit)));
            c_t[unit] = f * c_t[unit] + i * sum(&gates.cell, unit).tanh();
            h_t[unit] = sigmoid(sum(&gates.output, unit)) * c_t[unit].tanh();
        }
        close(Some(&h_t), output.row(&[t]))?;
    }
    println!("  equals the loop written by hand");
    Ok(())
}

/// Returns numbers between -1 and 1, the same in every run.
fn wave(shape: &[usize]) -> Result<Tensor> {
    let mut tensor = Tensor::zeros(shape)?;
    (0..).zip(tensor.data_mut()).for_each(|(n, v)| *v = (n as f32 * 0.37).sin());
    Ok(tensor)
}

/// Checks that both rows exist and are equal except for rounding: sums of at most 130 terms below 1, carried over at
/// most 20 steps.
fn close(a: Option<&[f32]>, b: Option<&[f32]>) -> Result<()> {
    let (Some(a), Some(b)) = (a, b) else { anyhow::bail!("a row is missing") };
    let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    anyhow::ensure!(a.len() == b.len() && difference <= 130.0 * 20.0 * f32::EPSILON, "they differ by {difference}");
    Ok(())
}
