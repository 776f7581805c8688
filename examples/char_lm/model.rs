//! The model: an embedding, a recurrent layer and the [head](Head), in PyTorch `nn.Embedding`, `nn.LSTM` or `nn.GRU`,
//! and `nn.Linear`, with PyTorch's names, shapes and rules for the first weights.

use anyhow::{Context, Result};
use rand::RngExt;
use rand_pcg::Pcg64;
use wgpu_rnn::{Config, Device, Gradients, Kind, Layer, Mode, Optimizer, Placed, Tensor, TensorFile};

use crate::head::{Head, softmax};
use crate::random::{Use, generator, normal};
use crate::settings::Settings;
use crate::text::Window;

/// The names of the recurrent layer's weights begin with this.
const PREFIX: &str = "layer.";

/// A character model whose recurrent layer is on a device.
pub struct Model<K: Kind> {
    /// `[V, E]`
    embedding: Tensor,
    layer: Placed<K>,
    head: Head,
    seed: u64,
}

/// The gradients of a step, as the fields of [`Model`].
pub struct ModelGradients<K: Kind> {
    embedding: Tensor,
    layer: Gradients<K>,
    head: Head,
}

impl<K: Kind> Model<K> {
    /// Draws the first weights by PyTorch's default rules.
    pub fn random(settings: &Settings, alphabet: usize, device: &Device) -> Result<Self> {
        let &Settings { embedding, hidden, seed, .. } = settings;
        Ok(Self {
            embedding: normal(&[alphabet, embedding], &mut generator(seed, Use::Embedding))?,
            layer: Layer::random(config(settings), seed)?.to(device)?,
            head: Head::random(hidden, alphabet, &mut generator(seed, Use::Head))?,
            seed,
        })
    }

    /// Reads the weights from a file, where their names begin with `prefix`.
    pub fn load(settings: &Settings, file: &TensorFile, prefix: &str, device: &Device) -> Result<Self> {
        let tensor = |name: &str| {
            let name = format!("{prefix}{name}");
            file.tensor(&name)?.with_context(|| format!("the file has no tensor {name}"))
        };
        Ok(Self {
            embedding: tensor("embedding.weight")?,
            layer: Layer::from_tensor_file_with(config(settings), file, &format!("{prefix}{PREFIX}"))?.to(device)?,
            head: Head { weight: tensor("head.weight")?, bias: tensor("head.bias")? },
            seed: settings.seed,
        })
    }

    /// Returns the weights by the names of PyTorch's `state_dict`.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let layer = self.layer.to_layer()?;
        let layer = layer.named().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.clone()));
        let around = [("embedding.weight", &self.embedding), ("head.weight", &self.head.weight)];
        let around = around.into_iter().chain([("head.bias", &self.head.bias)]);
        Ok(around.map(|(name, tensor)| (name.to_owned(), tensor.clone())).chain(layer).collect())
    }

    /// Returns the recurrent layer.
    pub fn layer(&self) -> &Placed<K> {
        &self.layer
    }

    /// Lets dropout act, as a training step needs it and nothing else.
    pub fn train(&self) {
        self.layer.set_mode(Mode::Training { seed: self.seed });
    }

    /// Returns the mean loss of a window in nats, its gradients, and the state after the window.
    pub fn gradients(
        &self,
        window: &Window,
        batch: usize,
        state: Option<&K::State<f32>>,
    ) -> Result<(f64, ModelGradients<K>, K::State<f32>)> {
        self.train();
        let pass = self.layer.forward_train(&self.embed(&window.inputs, batch)?, state)?;
        let next = pass.state().clone();
        let (loss, head, of_output) = self.head.gradients(pass.output(), &window.targets)?;
        // No gradient comes from later windows: that is the truncation.
        let layer = pass.backward(&of_output, None)?;
        let mut embedding = Tensor::zeros(self.embedding.shape())?;
        let size = self.layer.config().input_size();
        for (&symbol, of_vector) in window.inputs.iter().zip(layer.input().data().chunks_exact(size)) {
            let sum = embedding.row_mut(&[usize::from(symbol)]).context("a symbol outside the alphabet")?;
            sum.iter_mut().zip(of_vector).for_each(|(sum, gradient)| *sum += gradient);
        }
        Ok((loss, ModelGradients { embedding, layer, head }, next))
    }

    /// Changes all weights together.
    pub fn step(
        &mut self,
        optimizer: &mut Optimizer,
        lr: f64,
        clip: f64,
        gradients: &ModelGradients<K>,
    ) -> Result<f64> {
        let mut step = optimizer.step(lr).clip_norm(clip);
        step.layer(PREFIX, &mut self.layer, gradients.layer.weights())
            .tensor("embedding.weight", &mut self.embedding, &gradients.embedding)
            .tensor("head.weight", &mut self.head.weight, &gradients.head.weight)
            .tensor("head.bias", &mut self.head.bias, &gradients.head.bias);
        Ok(step.run()?)
    }

    /// Returns the mean number of bits that each symbol of a text costs, from its second on.
    pub fn bits(&self, text: &[u8]) -> Result<f64> {
        /// Bounds the memory of a forward; the state goes on.
        const PIECE: usize = 1024;
        self.layer.set_mode(Mode::Evaluation);
        let (mut nats, mut state) = (0.0, None);
        for (inputs, targets) in text[..text.len() - 1].chunks(PIECE).zip(text[1..].chunks(PIECE)) {
            let (outputs, next) = self.layer.forward(&self.embed(inputs, 1)?, state.as_ref())?;
            nats += self.head.loss(outputs.data(), targets)?;
            state = Some(next);
        }
        Ok(nats / (text.len() - 1) as f64 / std::f64::consts::LN_2)
    }

    /// Draws symbols one after the other, each the input of the next step. `first` is read before them.
    pub fn sample(&self, first: u8, count: usize, generator: &mut Pcg64) -> Result<Vec<u8>> {
        self.layer.set_mode(Mode::Evaluation);
        let (mut symbols, mut last, mut state) = (Vec::new(), first, None);
        for _ in 0..count {
            let (output, next) = self.layer.forward(&self.embed(&[last], 1)?, state.as_ref())?;
            let mut probabilities = self.head.logits(output.data())?;
            softmax(&mut probabilities, &[last]);
            let mut left: f32 = generator.random();
            let drawn = probabilities.iter().position(|probability| {
                left -= probability;
                left < 0.0
            });
            // Rounding may leave a little after the last symbol.
            last = drawn.unwrap_or(probabilities.len() - 1) as u8;
            symbols.push(last);
            state = Some(next);
        }
        Ok(symbols)
    }

    /// Returns the vectors of symbols `[T, B]`, as `[T, B, E]`.
    fn embed(&self, symbols: &[u8], batch: usize) -> Result<Tensor> {
        let size = self.layer.config().input_size();
        let vector = |&symbol: &u8| &self.embedding.data()[usize::from(symbol) * size..][..size];
        let vectors: Vec<f32> = symbols.iter().flat_map(vector).copied().collect();
        Ok(Tensor::new([symbols.len() / batch, batch, size], vectors)?)
    }
}

fn config<K: Kind>(settings: &Settings) -> Config<K> {
    let &Settings { embedding, hidden, layers, dropout, .. } = settings;
    Config::new(embedding, hidden).with_num_layers(layers).with_dropout(dropout)
}
