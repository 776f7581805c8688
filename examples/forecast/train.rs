//! The training of `train.py` in Rust: the same first weights, weeks, losses and optimiser, all in float32.
//!
//! A step reads WARM_UP weeks of each row, then forecasts HORIZON weeks in closed loop: each prediction is the input of
//! the next pass, which starts from the state of the one before. The backward walks these passes from the last to the
//! first, and hands the gradients of states and inputs on.

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use wgpu_rnn::{
    AdamW, Device, Gradients, Lstm, LstmKind, LstmState, Optimizer, Pass, PlacedLstm, Tensor, TensorFile,
    WeightGradients,
};

use crate::model::{FEATURES, Forecaster, input};

/// The weeks that a row reads before it forecasts.
const WARM_UP: usize = 156;
/// The weeks that it forecasts.
const HORIZON: usize = 104;
/// The largest norm of all gradients together.
const CLIP: f64 = 1.0;

/// What `train.py` recorded: the first weights, and what PyTorch drew and computed in each step.
pub struct Trace {
    file: TensorFile,
    /// `[steps, B]`: the first week of each row.
    starts: Vec<usize>,
    learning_rates: Vec<f64>,
    beta1s: Vec<f64>,
    /// PyTorch's losses.
    pub losses: Vec<f64>,
}

impl Trace {
    pub fn open(path: &std::path::Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let numbers = |name: &str| -> Result<Vec<f64>> {
            Ok(file.tensor::<f64>(name)?.with_context(|| format!("the trace has no {name}"))?.into_data())
        };
        let starts = file.integers("starts")?.context("the trace has no starts")?;
        let starts: Vec<usize> = starts.into_iter().map(usize::try_from).collect::<Result<_, _>>()?;
        let (learning_rates, beta1s) = (numbers("learning_rates")?, numbers("beta1s")?);
        let losses = numbers("losses")?;
        ensure!(starts.len().is_multiple_of(losses.len()), "the trace has spans for other steps");
        Ok(Self { starts, learning_rates, beta1s, losses, file })
    }
}

/// The network while it is trained.
struct Network {
    lstm: PlacedLstm,
    head_weight: Tensor,
    head_bias: Tensor,
}

/// The gradients of a step.
struct Sums {
    lstm: Option<WeightGradients<LstmKind>>,
    head_weight: Tensor,
    head_bias: Tensor,
}

/// Trains on the history of a forecaster's normalisation. Returns the trained forecaster and the loss of each step.
pub fn train(trace: &Trace, norm: &TensorFile, history: &[f64], device: &Device) -> Result<(Forecaster, Vec<f64>)> {
    let tensor = |name: &str| trace.file.tensor(name)?.with_context(|| format!("the trace has no tensor {name}"));
    let mut network = Network {
        lstm: Lstm::from_tensor_file(&trace.file, "before.lstm.")?.to(device)?,
        head_weight: tensor("before.head.weight")?,
        head_bias: tensor("before.head.bias")?,
    };
    let scale = Forecaster::load(norm, device)?;
    let z: Vec<f32> = (0..history.len()).map(|week| scale.z(history, week)).collect();
    let batch = trace.starts.len() / trace.losses.len();
    let mut optimizer = Optimizer::new(AdamW::new())?;

    let bar = ProgressBar::new(trace.losses.len() as u64);
    bar.set_style(ProgressStyle::with_template("training  {bar:30} {pos}/{len}, {per_sec}, {eta} left, {msg}")?);
    let mut losses = Vec::new();
    for (step, starts) in trace.starts.chunks_exact(batch).enumerate() {
        let (loss, sums) = network.gradients(&z, starts, scale.std() as f32)?;
        let of_lstm = sums.lstm.context("a step without a pass")?;
        optimizer.set_rule(AdamW::new().with_betas(trace.beta1s[step], 0.999))?;
        let mut update = optimizer.step(trace.learning_rates[step]).clip_norm(CLIP);
        update
            .layer("lstm.", &mut network.lstm, &of_lstm)
            .tensor("head.weight", &mut network.head_weight, &sums.head_weight)
            .tensor("head.bias", &mut network.head_bias, &sums.head_bias);
        update.run()?;
        losses.push(loss);
        bar.set_message(format!("loss {loss:.3}"));
        bar.inc(1);
    }
    bar.finish();
    let Network { lstm, head_weight, head_bias } = network;
    Ok((scale.with_weights(lstm, head_weight, head_bias.data()[0]), losses))
}

impl Network {
    /// Returns the loss of rows that start at these weeks, and its gradients:
    ///
    /// ```text
    /// mean over the weeks read of (prediction - z)²  +  mean over the weeks ahead of (level - true level)², in ppm
    /// ```
    fn gradients(&self, z: &[f32], starts: &[usize], std: f32) -> Result<(f64, Sums)> {
        let batch = starts.len();
        let z_of = |after: usize| starts.iter().map(move |start| z[start + after]);
        let inputs: Vec<f32> = (0..=WARM_UP)
            .flat_map(|t| starts.iter().flat_map(move |start| input(z[start + t - 1], start + t)))
            .collect();
        let read = self.lstm.forward_train(&Tensor::new([WARM_UP + 1, batch, FEATURES], inputs)?, None)?;
        let predicted = self.head(read.output());
        let errors: Vec<f32> = predicted.iter().zip((0..=WARM_UP).flat_map(z_of)).map(|(z, truth)| z - truth).collect();
        let mut loss = errors.iter().map(|e| f64::from(e * e)).sum::<f64>() / errors.len() as f64;
        let mut of_predicted: Vec<f32> = errors.iter().map(|e| 2.0 * e / errors.len() as f32).collect();

        // The closed loop: one pass per week, all of them kept for the backward.
        let mut ahead: Vec<Pass<'_, LstmKind>> = Vec::new();
        let mut forecast = vec![predicted[predicted.len() - batch..].to_vec()];
        for week in 1..HORIZON {
            let before = &forecast[week - 1];
            let inputs = before.iter().zip(starts).flat_map(|(&z, start)| input(z, start + WARM_UP + week));
            let x = Tensor::new([1, batch, FEATURES], inputs.collect::<Vec<_>>())?;
            let pass = self.lstm.forward_train(&x, ahead.last().unwrap_or(&read).state())?;
            forecast.push(self.head(pass.output()));
            ahead.push(pass);
        }

        // Levels are sums of changes, so the gradient of a change is the sum of those of all later levels.
        let count = (HORIZON * batch) as f32;
        let mut level = vec![0.0; batch];
        let mut of_forecast: Vec<Vec<f32>> = Vec::new();
        for (week, predicted) in forecast.iter().enumerate() {
            for ((level, z), truth) in level.iter_mut().zip(predicted).zip(z_of(WARM_UP + week)) {
                *level += (z - truth) * std;
            }
            loss += level.iter().map(|l| f64::from(l * l)).sum::<f64>() / f64::from(count);
            of_forecast.push(level.iter().map(|l| 2.0 * l * std / count).collect());
        }
        for week in (1..HORIZON).rev() {
            let (earlier, later) = of_forecast.split_at_mut(week);
            add(&mut earlier[week - 1], &later[0]);
        }

        let mut sums =
            Sums { lstm: None, head_weight: Tensor::zeros(self.head_weight.shape())?, head_bias: Tensor::zeros([1])? };
        let mut of_state: Option<LstmState> = None;
        for (week, pass) in ahead.into_iter().enumerate().rev() {
            let of_z = std::mem::take(&mut of_forecast[week + 1]);
            let gradients = sums.backward(self, pass, &of_z, of_state.as_ref())?;
            // Feature 0 of the input was the prediction of the week before.
            let of_before: Vec<f32> = gradients.input().data().chunks_exact(FEATURES).map(|x| x[0]).collect();
            add(&mut of_forecast[week], &of_before);
            of_state = Some(gradients.initial_state().clone());
            sums.add(gradients)?;
        }
        let last = of_predicted.len() - batch;
        add(&mut of_predicted[last..], &of_forecast[0]);
        let gradients = sums.backward(self, read, &of_predicted, of_state.as_ref())?;
        sums.add(gradients)?;
        Ok((loss, sums))
    }

    /// Returns z for each row of an output of the LSTM.
    fn head(&self, output: &Tensor) -> Vec<f32> {
        let rows = output.data().chunks_exact(self.head_weight.data().len());
        let dot = |y: &[f32]| y.iter().zip(self.head_weight.data()).map(|(y, w)| y * w).sum::<f32>();
        rows.map(|y| dot(y) + self.head_bias.data()[0]).collect()
    }
}

impl Sums {
    /// Runs the backward of a pass, given the gradient of each row's z; the head's own gradients are added.
    fn backward(
        &mut self,
        network: &Network,
        pass: Pass<'_, LstmKind>,
        of_z: &[f32],
        of_state: Option<&LstmState>,
    ) -> Result<Gradients<LstmKind>> {
        let hidden = network.head_weight.data().len();
        for (y, &of_z) in pass.output().data().chunks_exact(hidden).zip(of_z) {
            self.head_weight.data_mut().iter_mut().zip(y).for_each(|(sum, y)| *sum += of_z * y);
            self.head_bias.data_mut()[0] += of_z;
        }
        let of_output = of_z.iter().flat_map(|of_z| network.head_weight.data().iter().map(move |w| of_z * w));
        let of_output = Tensor::new(pass.output().shape(), of_output.collect::<Vec<_>>())?;
        Ok(pass.backward(&of_output, of_state)?)
    }

    fn add(&mut self, gradients: Gradients<LstmKind>) -> Result<()> {
        match &mut self.lstm {
            Some(sum) => sum.accumulate(gradients.weights())?,
            None => self.lstm = Some(gradients.into_weights()),
        }
        Ok(())
    }
}

fn add(sum: &mut [f32], more: &[f32]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}
