//! Optimisers change parameters as torch.optim does (fixtures/training.py), can be interrupted, and change all or
//! nothing.

use wgpu_rnn::{
    Adam, AdamW, Config, Device, Error, Gradients, Gru, GruConfig, Layer, Lstm, LstmConfig, LstmKind, Mode, Optimizer,
    Placed, Rule, Sgd, Tensor, TensorFile,
};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, gpu, uniform};

const STEPS: usize = 20;
const LR: f64 = 0.01;

/// A layer and a linear head on its output, which learn to predict a target.
struct Training {
    layer: Placed<LstmKind, f64>,
    head: Tensor<f64>,
    input: Tensor<f64>,
    target: Tensor<f64>,
}

impl Training {
    fn of_fixture(file: &TensorFile) -> Self {
        let tensor = |key: &str| file.tensor(key).unwrap().unwrap();
        let layer = Layer::<LstmKind>::from_tensor_file_as(file, "before.layer.").unwrap();
        Self {
            layer: layer.to(&Device::cpu()).unwrap(),
            head: tensor("before.head"),
            input: tensor("input"),
            target: tensor("target"),
        }
    }

    fn random(config: LstmConfig) -> Self {
        let features = config.directions() * config.hidden_size();
        let f64s = |shape: &[usize], seed| uniform(shape, seed).cast::<f64>().unwrap();
        Self {
            input: f64s(&[6, 5, config.input_size()], 1),
            target: f64s(&[6, 5], 2),
            head: f64s(&[1, features], 3),
            layer: Lstm::random(config, 4).unwrap().cast::<f64>().unwrap().to(&Device::cpu()).unwrap(),
        }
    }

    /// Returns the loss, and the gradients of layer and head.
    fn gradients(&self) -> (f64, Gradients<LstmKind, f64>, Tensor<f64>) {
        let pass = self.layer.forward_train(&self.input, None).unwrap();
        let (features, rows) = (self.head.data().len(), self.target.data().len());
        let (mut of_output, mut of_head) = (Vec::new(), vec![0.0; features]);
        let mut loss = 0.0;
        for (y, target) in pass.output().data().chunks_exact(features).zip(self.target.data()) {
            let error = y.iter().zip(self.head.data()).map(|(y, w)| y * w).sum::<f64>() - target;
            loss += error * error / rows as f64;
            let slope = 2.0 * error / rows as f64;
            of_output.extend(self.head.data().iter().map(|w| slope * w));
            of_head.iter_mut().zip(y).for_each(|(of_head, y)| *of_head += slope * y);
        }
        let of_output = Tensor::new(pass.output().shape(), of_output).unwrap();
        (loss, pass.backward(&of_output, None).unwrap(), Tensor::new([1, features], of_head).unwrap())
    }

    /// Runs one step, and returns the loss before it.
    fn step(&mut self, optimizer: &mut Optimizer<f64>, name: &str) -> f64 {
        let (loss, gradients, of_head) = self.gradients();
        let mut step = optimizer.step(LR);
        if name.ends_with("clip_norm") {
            step = step.clip_norm(0.05);
        }
        if name.ends_with("clip_value") {
            step = step.clip_value(0.01);
        }
        step.layer("layer.", &mut self.layer, gradients.weights()).tensor("head", &mut self.head, &of_head);
        step.run().unwrap();
        loss
    }

    fn bits(&self) -> Vec<u64> {
        let layer = self.layer.to_layer().unwrap();
        let parameters = layer.named().flat_map(|(_, tensor)| bits(tensor));
        parameters.chain(bits(&self.head)).collect()
    }
}

/// Returns the rules of fixtures/training.py by the names of its files.
pub fn rules_of_fixtures() -> [(&'static str, Rule); 8] {
    [
        ("sgd", Sgd::new().into()),
        ("sgd_momentum", Sgd::new().with_momentum(0.9).with_dampening(0.3).with_weight_decay(0.02).into()),
        ("sgd_nesterov", Sgd::new().with_momentum(0.8).with_nesterov(true).into()),
        ("adam", Adam::new().into()),
        ("adam_decay", Adam::new().with_betas(0.8, 0.95).with_eps(1e-5).with_weight_decay(0.1).into()),
        ("adamw", AdamW::new().into()),
        ("adamw_clip_norm", AdamW::new().with_weight_decay(0.1).into()),
        ("sgd_clip_value", Sgd::new().with_momentum(0.9).into()),
    ]
}

#[test]
fn steps_are_those_of_torch_optim() {
    for (name, rule) in rules_of_fixtures() {
        let path = format!("{}/tests/fixtures/training/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let file = TensorFile::open(path).unwrap();
        let mut training = Training::of_fixture(&file);
        let mut optimizer = Optimizer::new(rule).unwrap();
        let losses: Vec<f64> = (0..STEPS).map(|_| training.step(&mut optimizer, name)).collect();
        let expected = file.tensor::<f64>("losses").unwrap().unwrap();
        compare(&format!("{name}: losses"), &losses, expected.data(), Tolerance::both(1e-11)).unwrap();
        for (key, tensor) in training.layer.to_layer().unwrap().named() {
            let expected = file.tensor::<f64>(&format!("after.layer.{key}")).unwrap().unwrap();
            // A step of Adam divides by the square root of squares that may be tiny.
            compare(&format!("{name}: {key}"), tensor.data(), expected.data(), Tolerance::both(1e-9)).unwrap();
        }
    }
}

/// Steps, a checkpoint of everything, and as many steps again are twice as many steps, with masks and all.
#[test]
fn a_resumed_training_is_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = LstmConfig::new(3, 4).with_num_layers(2).with_dropout(0.3);
    for rule in [Rule::from(Sgd::new().with_momentum(0.9)), AdamW::new().into()] {
        let mut training = Training::random(config.clone());
        training.layer.set_mode(Mode::Training { seed: 5 });
        let mut optimizer = Optimizer::new(rule).unwrap();
        for _ in 0..5 {
            training.step(&mut optimizer, "");
        }
        let path = |name: &str| folder.path().join(name);
        optimizer.save(path("optimizer")).unwrap();
        training.layer.to_layer().unwrap().save_safetensors(path("layer"), "").unwrap();
        let masks = training.layer.mask_count();

        let layer = Layer::<LstmKind>::from_tensor_file_as(&TensorFile::open(path("layer")).unwrap(), "").unwrap();
        let mut resumed = Training {
            layer: layer.to(&Device::cpu()).unwrap(),
            head: training.head.clone(),
            input: training.input.clone(),
            target: training.target.clone(),
        };
        resumed.layer.set_mode(Mode::Training { seed: 5 });
        resumed.layer.set_mask_count(masks);
        let mut loaded = Optimizer::load(path("optimizer"), rule).unwrap();
        for _ in 0..5 {
            training.step(&mut optimizer, "");
            resumed.step(&mut loaded, "");
        }
        assert_eq!(resumed.bits(), training.bits(), "{rule:?}");
        let other = if matches!(rule, Rule::Sgd(_)) { Rule::from(Adam::new()) } else { Sgd::new().into() };
        assert!(matches!(Optimizer::<f64>::load(path("optimizer"), other), Err(Error::MissingTensor { .. })));
    }
}

/// Going to evaluation and back does not repeat masks.
#[test]
fn evaluation_between_steps_changes_no_mask() {
    let config = LstmConfig::new(3, 8).with_num_layers(2).with_dropout(0.5);
    let layer = Lstm::random(config, 1).unwrap();
    let x = uniform(&[4, 2, 3], 2);
    let outputs = |evaluates: bool| -> Vec<_> {
        let placed = layer.to(&Device::cpu()).unwrap();
        let of_call = |_| {
            placed.set_mode(Mode::Training { seed: 3 });
            let output = bits(placed.forward_train(&x, None).unwrap().output());
            if evaluates {
                placed.set_mode(Mode::Evaluation);
                placed.forward(&x, None).unwrap();
            }
            output
        };
        (0..4).map(of_call).collect()
    };
    let undisturbed = outputs(false);
    assert_eq!(outputs(true), undisturbed);
    assert!((0..4).all(|a| (0..a).all(|b| undisturbed[a] != undisturbed[b])));
}

/// A step gives a layer new weights: its clones and streams keep theirs.
#[test]
fn clones_and_streams_keep_their_weights() {
    let mut gru = Gru::random(GruConfig::new(3, 4), 1).unwrap().to(&Device::cpu()).unwrap();
    let x = uniform(&[4, 2, 3], 2);
    let (before, _) = gru.forward(&x, None).unwrap();
    let (clone, mut streams) = (gru.clone(), gru.streams(2).run().unwrap());
    let gradients = gru.forward_train(&x, None).unwrap().backward(&before, None).unwrap();
    let mut optimizer = Optimizer::new(Sgd::new()).unwrap();
    let mut step = optimizer.step(0.1);
    step.layer("", &mut gru, gradients.weights());
    let norm = step.run().unwrap();
    let square = |tensor: &Tensor| tensor.data().iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    let expected = gradients.weights().named().unwrap().map(|(_, tensor)| square(tensor)).sum::<f64>().sqrt();
    assert_eq!(norm, expected);

    let (after, _) = gru.forward(&x, None).unwrap();
    assert_ne!(bits(&after), bits(&before));
    assert_eq!(bits(&clone.forward(&x, None).unwrap().0), bits(&before));
    assert_eq!(bits(&streams.push(&x).unwrap()), bits(&before));
    assert_eq!(bits(&gru.to_layer().unwrap().to(&Device::cpu()).unwrap().forward(&x, None).unwrap().0), bits(&after));
}

/// Steps on a GPU lead to the weights of those on the CPU, and each forward runs with the weights of the last step.
#[test]
fn steps_on_a_gpu_are_those_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let layer = Gru::random(GruConfig::new(3, 9).with_num_layers(2).with_bidirectional(true), 1).unwrap();
    let x = uniform(&[6, 4, 3], 2);
    for rule in [Rule::from(Sgd::new().with_momentum(0.9)), AdamW::new().into()] {
        let train = |device: &Device| {
            let mut placed = layer.to(device).unwrap();
            let mut optimizer = Optimizer::new(rule).unwrap();
            for _ in 0..5 {
                let pass = placed.forward_train(&x, None).unwrap();
                let dy = pass.output().clone();
                let gradients = pass.backward(&dy, None).unwrap();
                let mut step = optimizer.step(LR);
                step.layer("", &mut placed, gradients.weights());
                step.run().unwrap();
            }
            let pass = placed.forward_train(&x, None).unwrap();
            let fresh =
                placed.to_layer().unwrap().to(device).unwrap().forward_train(&x, None).unwrap().output().clone();
            assert_eq!(bits(pass.output()), bits(&fresh), "{rule:?}");
            drop(pass);
            placed
        };
        let (got, expected) = (train(&gpu), train(&Device::cpu()));
        for ((name, got), (_, expected)) in got.to_layer().unwrap().named().zip(expected.to_layer().unwrap().named()) {
            // The first steps of Adam move by LR whatever the size of a gradient, so that they enlarge its error.
            let expected = expected.cast::<f64>().unwrap();
            compare(&format!("{rule:?}: {name}"), got.data(), expected.data(), Tolerance::both(1e-5)).unwrap();
        }
    }
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let mut lstm = Lstm::random(LstmConfig::new(3, 4), 1).unwrap().to(&Device::cpu()).unwrap();
    let mut head = Tensor::new([2], [1.0, 2.0]).unwrap();
    let x = uniform(&[4, 2, 3], 2);
    let gradients = |config: Config<LstmKind>, of_output: f32| {
        let other = Lstm::random(config, 1).unwrap().to(&Device::cpu()).unwrap();
        let pass = other.forward_train(&x, None).unwrap();
        let of_output = Tensor::new(pass.output().shape(), vec![of_output; pass.output().data().len()]).unwrap();
        pass.backward(&of_output, None).unwrap()
    };
    let (good, nan) = (gradients(LstmConfig::new(3, 4), 1.0), gradients(LstmConfig::new(3, 4), f32::NAN));
    let other_size = gradients(LstmConfig::new(3, 5), 1.0);
    let other_depth = gradients(LstmConfig::new(3, 4).with_num_layers(2), 1.0);
    let (one, two) = (Tensor::new([2], [1.0; 2]).unwrap(), Tensor::new([1, 2], [1.0; 2]).unwrap());
    let before = lstm.to_layer().unwrap();
    let mut optimizer = Optimizer::new(AdamW::new()).unwrap();

    let mut attempt = |of_head: &Tensor, of_layer: &Gradients<LstmKind>, name: &str, lr: f64| {
        let mut step = optimizer.step(lr);
        step.tensor("head", &mut head, of_head).layer(name, &mut lstm, of_layer.weights());
        let error = step.run().unwrap_err();
        assert_eq!((head.data(), lstm.to_layer().unwrap()), (&[1.0, 2.0][..], before.clone()), "{error}");
        assert_eq!(format!("{optimizer:?}").matches(", 0 parameters").count(), 1, "{error}");
        error
    };
    assert!(matches!(attempt(&one, &nan, "", 0.1), Error::NonFinite { .. }));
    assert!(matches!(attempt(&two, &good, "", 0.1), Error::Shape { .. }));
    assert!(matches!(attempt(&one, &other_size, "", 0.1), Error::Shape { .. }));
    assert!(matches!(attempt(&one, &other_depth, "", 0.1), Error::Shape { .. }));
    assert!(matches!(attempt(&one, &good, "", -0.1), Error::Config { argument: "lr", .. }));
    assert!(matches!(attempt(&one, &good, "", f64::NAN), Error::Config { argument: "lr", .. }));

    let mut second = Tensor::new([2], [1.0; 2]).unwrap();
    let mut step = optimizer.step(0.1);
    step.tensor("head", &mut head, &one).tensor("head", &mut second, &one);
    assert!(matches!(step.run().unwrap_err(), Error::Config { argument: "name", .. }));
}

/// The gradients of two passes add up as those of one pass over both batches.
#[test]
fn gradients_accumulate_over_passes() {
    let layer = Lstm::random(LstmConfig::new(3, 4).with_num_layers(2), 1).unwrap().cast::<f64>().unwrap();
    let placed = layer.to(&Device::cpu()).unwrap();
    let x = uniform(&[5, 2, 3], 2).cast::<f64>().unwrap();
    let of = |input: &Tensor<f64>| {
        let pass = placed.forward_train(input, None).unwrap();
        let gradient = pass.output().clone();
        pass.backward(&gradient, None).unwrap()
    };
    let mut sum = of(&crate::support::slice(&x, 1, 0..1)).into_weights();
    sum.accumulate(of(&crate::support::slice(&x, 1, 1..2)).weights()).unwrap();
    for ((name, got), (_, expected)) in sum.named().unwrap().zip(of(&x).weights().named().unwrap()) {
        compare(&name, got.data(), expected.data(), Tolerance::both(1e-13)).unwrap();
    }
    let other = Lstm::random(LstmConfig::new(3, 4), 1).unwrap().cast::<f64>().unwrap().to(&Device::cpu()).unwrap();
    let other = other.forward_train(&x, None).unwrap().backward(None, None).unwrap();
    assert!(matches!(sum.accumulate(other.weights()), Err(Error::Shape { .. })));
}

/// The numbers of a rule may change between steps, its kind may not.
#[test]
fn a_rule_changes_only_within_its_kind() {
    let mut optimizer = Optimizer::<f32>::new(AdamW::new()).unwrap();
    optimizer.set_rule(AdamW::new().with_betas(0.85, 0.999)).unwrap();
    assert!(matches!(optimizer.set_rule(Sgd::new()), Err(Error::Unsupported { .. })));
    assert!(matches!(optimizer.set_rule(AdamW::new().with_eps(-1.0)), Err(Error::Config { .. })));
    assert_eq!(optimizer.rule(), AdamW::new().with_betas(0.85, 0.999).into());
}

/// The state of an optimiser is read from a file that has it among other things; one that contradicts itself is an
/// error.
#[test]
fn a_state_is_part_of_a_larger_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (mut head, gradient) = (uniform(&[3], 1), uniform(&[3], 2));
    let mut optimizer = Optimizer::new(Adam::new()).unwrap();
    let step = |optimizer: &mut Optimizer, head: &mut Tensor| {
        let mut step = optimizer.step(0.1);
        step.tensor("head", head, &gradient);
        step.run().unwrap();
    };
    step(&mut optimizer, &mut head);
    let state = optimizer.state().unwrap();
    let save = |tensors: &[(&str, &Tensor)]| {
        TensorFile::save_with_metadata(&path, tensors, &state.metadata).unwrap();
        Optimizer::<f32>::from_tensor_file(&TensorFile::open(&path).unwrap(), Adam::new())
    };
    let mut tensors: Vec<(&str, &Tensor)> =
        state.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    tensors.push(("head", &head));
    let mut loaded = save(&tensors).unwrap();
    let (mut one, mut other) = (head.clone(), head.clone());
    step(&mut optimizer, &mut one);
    step(&mut loaded, &mut other);
    assert_eq!(bits(&one), bits(&other));

    let short = uniform(&[2], 3);
    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| *name == "head.exp_avg_sq") {
        *tensor = &short;
    }
    assert!(matches!(save(&tensors), Err(Error::Shape { .. })));
}

#[test]
fn numbers_that_pytorch_rejects_are_rejected() {
    let rules: [Rule; 6] = [
        Sgd::new().with_momentum(-0.1).into(),
        Sgd::new().with_nesterov(true).into(),
        Sgd::new().with_momentum(0.9).with_dampening(0.1).with_nesterov(true).into(),
        Adam::new().with_betas(1.0, 0.9).into(),
        AdamW::new().with_eps(-1.0).into(),
        AdamW::new().with_weight_decay(f64::NAN).into(),
    ];
    for rule in rules {
        assert!(matches!(Optimizer::<f32>::new(rule), Err(Error::Config { .. })), "{rule:?}");
    }
}
