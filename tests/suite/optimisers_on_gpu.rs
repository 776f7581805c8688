//! Steps on a GPU: those of torch.optim and of the CPU, in place, resumed bit for bit, and all or nothing.

use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{
    Adam, AdamW, Device, Error, Gradients, Gru, GruConfig, Lstm, LstmConfig, LstmKind, Optimizer, Placed, Rule, Sgd,
    Tensor, TensorFile, WeightGradients,
};

use crate::compare::{Tolerance, compare};
use crate::encode::Arena;
use crate::optimisers::rules_of_fixtures;
use crate::support::{bits, gpu, uniform};

/// The gradients of a pass over x whose loss is Σ output² / 2.
fn gradients<K: wgpu_rnn::Kind>(layer: &Placed<K>, x: &Tensor) -> Gradients<K> {
    let pass = layer.forward_train(x, None).unwrap();
    let dy = pass.output().clone();
    pass.backward(&dy, None).unwrap()
}

fn layer_bits<K: wgpu_rnn::Kind>(layer: &Placed<K>) -> Vec<u64> {
    layer.to_layer().unwrap().named().flat_map(|(_, tensor)| bits(tensor)).collect()
}

/// A layer on the device and a head on the host, as in fixtures/training.py, end where torch.optim in f64 ends, up to
/// the rounding of f32 over 20 steps.
#[test]
fn steps_are_those_of_torch_optim() {
    let Some(gpu) = gpu() else { return };
    for (name, rule) in rules_of_fixtures() {
        let path = format!("{}/tests/fixtures/training/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let file = TensorFile::open(path).unwrap();
        let tensor = |key: &str| file.tensor::<f32>(key).unwrap().unwrap();
        let mut layer = Lstm::from_tensor_file(&file, "before.layer.").unwrap().to(&gpu).unwrap();
        let (mut head, input, target) = (tensor("before.head"), tensor("input"), tensor("target"));
        let mut optimizer = Optimizer::new(rule).unwrap();
        let expected_losses = file.tensor::<f64>("losses").unwrap().unwrap();
        for (step, expected) in expected_losses.data().iter().enumerate() {
            let (loss, of_layer, of_head) = loss(&layer, &head, &input, &target);
            assert!((loss - expected).abs() <= 1e-5 * expected.max(1.0), "{name}, step {step}: {loss} {expected}");
            let mut update = optimizer.step(0.01);
            if name.ends_with("clip_norm") {
                update = update.clip_norm(0.05);
            }
            if name.ends_with("clip_value") {
                update = update.clip_value(0.01);
            }
            update.layer("layer.", &mut layer, of_layer.weights()).tensor("head", &mut head, &of_head);
            update.run().unwrap();
        }
        for (key, tensor) in layer.to_layer().unwrap().named() {
            let expected = file.tensor::<f64>(&format!("after.layer.{key}")).unwrap().unwrap();
            // A step of Adam divides by the square root of squares that may be tiny.
            compare(&format!("{name}: {key}"), tensor.data(), expected.data(), Tolerance::both(2e-5)).unwrap();
        }
    }
}

/// Returns the mean square error of a linear head, and the gradients of layer and head.
fn loss(
    layer: &Placed<LstmKind>,
    head: &Tensor,
    input: &Tensor,
    target: &Tensor,
) -> (f64, Gradients<LstmKind>, Tensor) {
    let pass = layer.forward_train(input, None).unwrap();
    let (features, rows) = (head.data().len(), target.data().len());
    let (mut of_output, mut of_head, mut loss) = (Vec::new(), vec![0.0; features], 0.0);
    for (y, target) in pass.output().data().chunks_exact(features).zip(target.data()) {
        let error = y.iter().zip(head.data()).map(|(y, w)| y * w).sum::<f32>() - target;
        loss += f64::from(error * error) / rows as f64;
        let slope = 2.0 * error / rows as f32;
        of_output.extend(head.data().iter().map(|w| slope * w));
        of_head.iter_mut().zip(y).for_each(|(of_head, y)| *of_head += slope * y);
    }
    let of_output = Tensor::new(pass.output().shape(), of_output).unwrap();
    (loss, pass.backward(&of_output, None).unwrap(), Tensor::new(head.shape(), of_head).unwrap())
}

/// Clones and streams keep their weights, and the layer steps on.
#[test]
fn clones_and_streams_keep_their_weights() {
    let Some(gpu) = gpu() else { return };
    let mut gru = Gru::random(GruConfig::new(3, 9).with_num_layers(2), 1).unwrap().to(&gpu).unwrap();
    let x = uniform(&[4, 2, 3], 2);
    let (before, _) = gru.forward(&x, None).unwrap();
    let (clone, mut streams) = (gru.clone(), gru.streams(2).run().unwrap());
    let mut optimizer = Optimizer::new(Sgd::new().with_momentum(0.9)).unwrap();
    let mut step = |gru: &mut _| {
        let of = gradients(gru, &x);
        let mut step = optimizer.step(0.1);
        step.layer("", gru, of.weights());
        step.run().unwrap();
    };
    step(&mut gru);
    let (after, _) = gru.forward(&x, None).unwrap();
    assert_ne!(bits(&after), bits(&before));
    assert_eq!(bits(&clone.forward(&x, None).unwrap().0), bits(&before));
    assert_eq!(bits(&streams.push(&x).unwrap()), bits(&before));
    // The second step is in place: nothing shares the weights any longer.
    step(&mut gru);
    assert_eq!(layer_bits(&clone), layer_bits(&Gru::random(clone.config().clone(), 1).unwrap().to(&gpu).unwrap()));
    let fresh = gru.to_layer().unwrap().to(&gpu).unwrap();
    assert_eq!(bits(&gru.forward(&x, None).unwrap().0), bits(&fresh.forward(&x, None).unwrap().0));
}

/// A training that is saved on a GPU goes on there with the same bits, and on the CPU from the same numbers.
#[test]
fn a_resumed_training_is_an_uninterrupted_one() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer");
    let x = uniform(&[4, 2, 3], 2);
    for rule in [Rule::from(Sgd::new().with_momentum(0.9)), AdamW::new().into()] {
        let mut gru = Gru::random(GruConfig::new(3, 9).with_bidirectional(true).with_reset_after(false), 1).unwrap();
        let mut optimizer = Optimizer::new(rule).unwrap();
        let step = |gru: Gru, device: &Device, optimizer: &mut Optimizer, count: usize| {
            let mut gru = gru.to(device).unwrap();
            for _ in 0..count {
                let of = gradients(&gru, &x);
                let mut step = optimizer.step(0.01).clip_norm(0.5);
                step.layer("gru.", &mut gru, of.weights());
                step.run().unwrap();
            }
            gru.to_layer().unwrap()
        };
        gru = step(gru, &gpu, &mut optimizer, 3);
        optimizer.save(&path).unwrap();
        let loaded = || Optimizer::load(&path, rule).unwrap();
        let went_on = step(gru.clone(), &gpu, &mut optimizer, 3);
        let resumed = step(gru.clone(), &gpu, &mut loaded(), 3);
        assert_eq!(resumed, went_on, "{rule:?}");
        let on_cpu = step(gru.clone(), &Device::cpu(), &mut loaded(), 3);
        // The same optimiser moves from device to device.
        let mut moving = loaded();
        let moved = step(gru, &Device::cpu(), &mut moving, 1);
        let moved = step(moved, &gpu, &mut moving, 1);
        let moved = step(moved, &Device::cpu(), &mut moving, 1);
        for other in [on_cpu, moved] {
            for ((name, got), (_, expected)) in other.named().zip(went_on.named()) {
                let expected = expected.cast::<f64>().unwrap();
                compare(&format!("{rule:?}: {name}"), got.data(), expected.data(), Tolerance::both(1e-5)).unwrap();
            }
        }
    }
}

/// Gradients of another device, of the CPU, and sums of several step a layer as its own do.
#[test]
fn gradients_may_come_from_anywhere() {
    let Some(gpu) = gpu() else { return };
    let layer = Lstm::random(LstmConfig::new(3, 9).with_num_layers(2).with_bias(false), 1).unwrap();
    let on_cpu = layer.to(&Device::cpu()).unwrap();
    let (x, other) = (uniform(&[4, 2, 3], 2), uniform(&[4, 2, 3], 3));
    let stepped = |gradients: &WeightGradients<LstmKind>| {
        let mut placed = layer.to(&gpu).unwrap();
        let mut optimizer = Optimizer::new(Sgd::new()).unwrap();
        let mut step = optimizer.step(0.1);
        step.layer("", &mut placed, gradients);
        let norm = step.run().unwrap();
        (norm, placed.to_layer().unwrap())
    };
    let on_gpu = layer.to(&gpu).unwrap();
    let of = [&on_cpu, &on_gpu].map(|placed| {
        let mut sum = gradients(placed, &x).into_weights();
        let second = gradients(placed, &other);
        sum.accumulate(second.weights()).unwrap();
        let before = second.weights().clone();
        // The arrays of `before` are also those of `second`: a sum takes others. What was read before is not the sum.
        before.layers().unwrap();
        let mut twice = before.clone();
        twice.accumulate(&before).unwrap();
        for ((_, twice), (_, once)) in twice.named().unwrap().zip(second.weights().named().unwrap()) {
            assert!(twice.data().iter().zip(once.data()).all(|(twice, once)| *twice == 2.0 * once));
        }
        sum
    });
    let [(norm, expected), (got_norm, got)] = [stepped(&of[0]), stepped(&of[1])];
    assert!((norm - got_norm).abs() <= 1e-5 * norm);
    for ((name, got), (_, expected)) in got.named().zip(expected.named()) {
        compare(&name, got.data(), expected.cast::<f64>().unwrap().data(), Tolerance::both(1e-5)).unwrap();
    }
    // A GPU's gradients step a layer on the CPU.
    let mut placed = layer.to(&Device::cpu()).unwrap();
    let mut optimizer = Optimizer::new(Sgd::new()).unwrap();
    let mut step = optimizer.step(0.1);
    step.layer("", &mut placed, &of[1]);
    step.run().unwrap();
    for ((name, got), (_, expected)) in placed.to_layer().unwrap().named().zip(expected.named()) {
        compare(&name, got.data(), expected.cast::<f64>().unwrap().data(), Tolerance::both(1e-5)).unwrap();
    }
}

/// Gradients stay those of their pass, whatever passes follow before they are read.
#[test]
fn later_passes_leave_gradients_as_they_are() {
    let Some(gpu) = gpu() else { return };
    let gru = Gru::random(GruConfig::new(3, 9), 1).unwrap().to(&gpu).unwrap();
    let [x, other] = [2, 3].map(|seed| uniform(&[4, 2, 3], seed));
    let expected: Vec<_> = gradients(&gru, &x).weights().named().unwrap().map(|(_, tensor)| bits(tensor)).collect();
    let first = gradients(&gru, &x);
    let second = gradients(&gru, &other);
    assert!(second.weights().named().unwrap().zip(&expected).all(|((_, tensor), expected)| bits(tensor) != *expected));
    let got: Vec<_> = first.weights().named().unwrap().map(|(_, tensor)| bits(tensor)).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let Some(gpu) = gpu() else { return };
    let mut lstm = Lstm::random(LstmConfig::new(3, 4), 1).unwrap().to(&gpu).unwrap();
    let before = lstm.to_layer().unwrap();
    let mut head = Tensor::new([2], [1.0, 2.0]).unwrap();
    let x = uniform(&[4, 2, 3], 2);
    let gradients = |config: LstmConfig, of_output: f32| {
        let other = Lstm::random(config, 1).unwrap().to(&gpu).unwrap();
        let pass = other.forward_train(&x, None).unwrap();
        let of_output = Tensor::new(pass.output().shape(), vec![of_output; pass.output().data().len()]).unwrap();
        pass.backward(&of_output, None).unwrap()
    };
    let good = gradients(LstmConfig::new(3, 4), 1.0);
    let mut optimizer = Optimizer::new(AdamW::new()).unwrap();
    let mut attempt = |of_head: f32, of_layer: &Gradients<LstmKind>, lr: f64| {
        let of_head = Tensor::new([2], [of_head; 2]).unwrap();
        let mut step = optimizer.step(lr).clip_value(1e30);
        step.tensor("head", &mut head, &of_head).layer("", &mut lstm, of_layer.weights());
        let error = step.run().unwrap_err();
        assert_eq!((head.data(), lstm.to_layer().unwrap()), (&[1.0, 2.0][..], before.clone()), "{error}");
        assert!(format!("{optimizer:?}").contains(", 0 parameters"), "{error}");
        error
    };
    let of_nan = attempt(1.0, &gradients(LstmConfig::new(3, 4), f32::NAN), 0.1);
    assert!(of_nan.to_string().contains("the gradient of weight_ih_l0"), "{of_nan}");
    assert!(matches!(of_nan, Error::NonFinite { .. }));
    assert!(matches!(attempt(f32::NAN, &good, 0.1), Error::NonFinite { .. }));
    assert!(matches!(attempt(1.0, &gradients(LstmConfig::new(3, 5), 1.0), 0.1), Error::Shape { .. }));
    let deep = gradients(LstmConfig::new(3, 4).with_num_layers(2), 1.0);
    assert!(matches!(attempt(1.0, &deep, 0.1), Error::Shape { .. }));
    assert!(matches!(attempt(1.0, &good, -0.1), Error::Config { argument: "lr", .. }));
}

/// A recorded step with a NaN changes nothing, and its norm says so.
#[test]
fn a_recorded_step_with_a_nan_changes_nothing() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30];
    let rules = [Rule::from(Sgd::new()), Adam::new().into()];
    for (value, rule) in values.into_iter().flat_map(|value| rules.map(|rule| (value, rule))) {
        let (parameter, mut gradient) = (uniform(&[700], 1), uniform(&[700], 2));
        gradient.data_mut()[613] = value;
        let (p, g, norm) = (arena.buffer(parameter.data()), arena.buffer(gradient.data()), arena.poisoned(1));
        let mut optimizer = Optimizer::<f32>::new(rule).unwrap();
        let mut step = optimizer.step(0.1).clip_norm(1.0);
        step.buffer("p", &gpu, p.slice(..2800), g.slice(..2800));
        let mut encoder = device.create_command_encoder(&Default::default());
        step.encode(&mut encoder, Some((&norm).into())).unwrap();
        queue.submit([encoder.finish()]);
        assert_eq!(arena.read(&p, 700), parameter.data(), "{value}");
        assert!(!arena.read(&norm, 1)[0].is_finite(), "{value}");
        let mut step = optimizer.step(0.1);
        step.buffer("p", &gpu, p.slice(..2800), g.slice(..2800));
        assert!(matches!(step.run(), Err(Error::NonFinite { .. })), "{value}");
    }
}

/// A buffer of the program's own steps as a tensor on the host does, whatever its size, and is resumed.
#[test]
fn buffers_step_as_tensors_do() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer");
    for elements in [1, 255, 257, 2_100_001] {
        for rule in [Rule::from(Sgd::new().with_momentum(0.9).with_nesterov(true)), AdamW::new().into()] {
            let mut tensor = uniform(&[elements], 1);
            let p = arena.buffer(tensor.data());
            let bytes = ..4 * elements as u64;
            let mut on_gpu = Optimizer::<f32>::new(rule).unwrap();
            let mut on_host = Optimizer::new(rule).unwrap();
            for number in 0..3 {
                let gradient = uniform(&[elements], 2 + number);
                let g = arena.buffer(gradient.data());
                let mut step = on_gpu.step(0.01).clip_norm(0.7);
                step.buffer("p", &gpu, p.slice(bytes), g.slice(bytes));
                let got = step.run().unwrap();
                let mut step = on_host.step(0.01).clip_norm(0.7);
                step.tensor("p", &mut tensor, &gradient);
                let expected = step.run().unwrap();
                // Each invocation adds up to a few dozen squares, and each workgroup those of 256.
                assert!((got - expected).abs() <= 1e-5 * expected, "{elements}: {got} {expected}");
                on_gpu.save(&path).unwrap();
                on_gpu = Optimizer::load(&path, rule).unwrap();
            }
            let got = arena.read(&p, elements);
            let expected = tensor.cast::<f64>().unwrap();
            compare(&format!("{rule:?}, {elements}"), &got, expected.data(), Tolerance::both(1e-5)).unwrap();
        }
    }
}

#[test]
fn unsuitable_buffers_of_a_step_are_errors() {
    let Some(gpu) = gpu() else { return };
    let (device, _) = gpu.wgpu().unwrap();
    let buffer = |size: u64, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let mut optimizer = Optimizer::<f32>::new(Sgd::new()).unwrap();
    let mut attempt = |on: &Device, p: &wgpu::Buffer, g: &wgpu::Buffer| {
        let mut step = optimizer.step(0.1);
        step.buffer("p", on, p, g);
        step.run().unwrap_err()
    };
    let (good, other) = (buffer(64, Use::STORAGE), buffer(64, Use::STORAGE));
    let (short, copied) = (buffer(60, Use::STORAGE), buffer(64, Use::COPY_SRC));
    assert!(matches!(attempt(&gpu, &copied, &good), Error::Buffer { name: "parameter", .. }));
    assert!(matches!(attempt(&gpu, &good, &copied), Error::Buffer { name: "gradient", .. }));
    assert!(matches!(attempt(&gpu, &good, &short), Error::Buffer { name: "gradient", .. }));
    assert!(matches!(attempt(&gpu, &good, &good), Error::Buffer { name: "gradient", .. }));
    assert!(matches!(attempt(&Device::cpu(), &good, &other), Error::Unsupported { .. }));
}

/// After a step on a GPU, which leaves its clones their weights, everything of later passes is that of a fresh layer.
#[test]
fn passes_after_a_step_are_those_of_a_fresh_layer() {
    let Some(gpu) = gpu() else { return };
    let x = uniform(&[4, 2, 3], 2);
    let of = |layer: &Placed<_>| -> Vec<_> {
        gradients(layer, &x).weights().named().unwrap().map(|(_, tensor)| bits(tensor)).collect()
    };
    let mut gru = Gru::random(GruConfig::new(3, 9).with_num_layers(3), 1).unwrap().to(&gpu).unwrap();
    let before = of(&gru);
    let mut optimizer = Optimizer::new(Sgd::new()).unwrap();
    for shared in [true, false, true] {
        let clone = shared.then(|| gru.clone());
        let gradients = gradients(&gru, &x);
        let mut step = optimizer.step(0.1);
        step.layer("", &mut gru, gradients.weights());
        step.run().unwrap();
        let fresh = gru.to_layer().unwrap().to(&gpu).unwrap();
        assert_eq!(bits(&gru.forward(&x, None).unwrap().0), bits(&fresh.forward(&x, None).unwrap().0));
        assert_eq!(of(&gru), of(&fresh), "shared: {shared}");
        assert!(clone.is_none_or(|clone| of(&clone) != of(&fresh)));
    }
    assert_ne!(of(&gru), before);
}

/// Layers on two wgpu devices and a GRU of the other form: norm, limit and moments are those of one device.
#[test]
fn a_step_spans_devices() {
    let Some(gpu) = gpu() else { return };
    let second = crate::support::under_test(Device::gpu(&wgpu_rnn::GpuOptions::new()).unwrap());
    let layers = [1, 2].map(|seed| Gru::random(GruConfig::new(3, 9), seed).unwrap());
    let x = uniform(&[4, 2, 3], 2);
    let train = |places: [[&Device; 2]; 3]| {
        let mut optimizer = Optimizer::new(Sgd::new().with_momentum(0.9)).unwrap();
        let mut layers = layers.clone();
        let mut norms = Vec::new();
        for devices in places {
            let [mut a, mut b] = [0, 1].map(|n| layers[n].to(devices[n]).unwrap());
            let (of_a, of_b) = (gradients(&a, &x), gradients(&b, &x));
            let mut step = optimizer.step(0.1).clip_norm(0.2);
            step.layer("a.", &mut a, of_a.weights()).layer("b.", &mut b, of_b.weights());
            norms.push(step.run().unwrap());
            layers = [a, b].map(|layer| layer.to_layer().unwrap());
        }
        (norms, layers)
    };
    let cpu = Device::cpu();
    let (expected_norms, expected) = train([[&cpu, &cpu]; 3]);
    for places in [[[&gpu, &second]; 3], [[&gpu, &gpu], [&second, &gpu], [&cpu, &second]]] {
        let (norms, got) = train(places);
        compare("norms", &norms.iter().map(|&n| n as f32).collect::<Vec<_>>(), &expected_norms, Tolerance::both(1e-5))
            .unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            for ((name, got), (_, expected)) in got.named().zip(expected.named()) {
                compare(&name, got.data(), expected.cast::<f64>().unwrap().data(), Tolerance::both(1e-5)).unwrap();
            }
        }
    }

    // Gradients of another device, and of the other form, which is packed otherwise.
    let other_form = layers[0].clone().with_reset_after(false);
    for of in [gradients(&layers[0].to(&second).unwrap(), &x), gradients(&other_form.to(&gpu).unwrap(), &x)] {
        let stepped = [&gpu, &cpu].map(|device| {
            let mut layer = layers[0].to(device).unwrap();
            let mut optimizer = Optimizer::new(Sgd::new()).unwrap();
            let mut step = optimizer.step(0.1);
            step.layer("", &mut layer, of.weights());
            step.run().unwrap();
            layer.to_layer().unwrap()
        });
        for ((name, got), (_, expected)) in stepped[0].named().zip(stepped[1].named()) {
            compare(&name, got.data(), expected.cast::<f64>().unwrap().data(), Tolerance::both(1e-6)).unwrap();
        }
    }

    // A recording belongs to one device.
    let [mut a, mut b] = [layers[0].to(&gpu).unwrap(), layers[1].to(&second).unwrap()];
    let (of_a, of_b) = (gradients(&a, &x), gradients(&b, &x));
    let mut optimizer = Optimizer::new(Sgd::new()).unwrap();
    let mut step = optimizer.step(0.1);
    step.layer("a.", &mut a, of_a.weights()).layer("b.", &mut b, of_b.weights());
    let mut encoder = gpu.wgpu().unwrap().0.create_command_encoder(&Default::default());
    assert!(matches!(step.encode(&mut encoder, None), Err(Error::Unsupported { .. })));
}

/// What is kept for parameters follows them, or the step is an error.
#[test]
fn what_is_kept_belongs_to_its_parameters() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let x = uniform(&[4, 2, 3], 2);
    let layer = Gru::random(GruConfig::new(3, 9), 1).unwrap();
    // One parameter has taken a step on its own.
    let mut optimizer = Optimizer::new(AdamW::new()).unwrap();
    let (_, weight) = layer.named().next().unwrap();
    let (mut weight, gradient) = (weight.clone(), weight.clone());
    let mut step = optimizer.step(0.1);
    step.tensor("a.weight_ih_l0", &mut weight, &gradient);
    step.run().unwrap();
    let mut placed = layer.to(&gpu).unwrap();
    let of = gradients(&placed, &x);
    let mut step = optimizer.step(0.1);
    step.layer("a.", &mut placed, of.weights());
    assert!(matches!(step.run(), Err(Error::Unsupported { .. })));
    // A buffer of another size under the same name.
    let [p, g] = [1, 2].map(|seed| arena.buffer(uniform(&[128], seed).data()));
    let mut attempt = |bytes: u64| {
        let mut step = optimizer.step(0.1);
        step.buffer("p", &gpu, p.slice(..bytes), g.slice(..bytes));
        step.run()
    };
    attempt(256).unwrap();
    assert!(matches!(attempt(128), Err(Error::Shape { .. })));
    attempt(256).unwrap();
    // Weights in f16 are rounded, so that steps would be lost.
    let mut halves = layer.place(&gpu).precision(wgpu_rnn::Precision::F16).run().unwrap();
    let mut step = optimizer.step(0.1);
    step.layer("b.", &mut halves, of.weights());
    assert!(matches!(step.run(), Err(Error::Unsupported { .. })));
    // An optimiser of f64 has no buffers.
    let mut doubles = Optimizer::<f64>::new(AdamW::new()).unwrap();
    let mut step = doubles.step(0.1);
    step.buffer("p", &gpu, p.slice(..256), g.slice(..256));
    assert!(matches!(step.run(), Err(Error::Unsupported { .. })));
    // A count of steps at its end.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer");
    let mut state = optimizer.state().unwrap();
    state.metadata.insert("p.step".to_owned(), u64::MAX.to_string());
    let tensors: Vec<(&str, &Tensor)> = state.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    TensorFile::save_with_metadata(&path, &tensors, &state.metadata).unwrap();
    let mut loaded = Optimizer::<f32>::load(&path, AdamW::new()).unwrap();
    let mut step = loaded.step(0.1);
    step.buffer("p", &gpu, p.slice(..256), g.slice(..256));
    step.run().unwrap();
}

/// Parameters and gradients in one buffer, a norm behind others, and limits of elements that are infinite.
#[test]
fn arrays_of_a_recorded_step_may_share_a_buffer() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let (parameter, mut gradient) = (uniform(&[64], 1), uniform(&[64], 2));
    gradient.data_mut()[5] = f32::INFINITY;
    for rule in [Rule::from(Sgd::new().with_momentum(0.5)), Adam::new().into()] {
        let pool = arena.buffer(&[parameter.data(), gradient.data(), &[7.0; 64]].concat());
        let mut optimizer = Optimizer::<f32>::new(rule).unwrap();
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut step = optimizer.step(0.1).clip_value(0.25).clip_norm(1e-5);
        step.buffer("p", &gpu, pool.slice(..256), pool.slice(256..512));
        step.encode(&mut encoder, Some(pool.slice(516..).into())).unwrap();
        queue.submit([encoder.finish()]);

        let mut expected = parameter.clone();
        let mut limited = gradient.clone();
        limited.data_mut()[5] = 0.25;
        let mut on_host = Optimizer::new(rule).unwrap();
        let mut step = on_host.step(0.1).clip_value(0.25).clip_norm(1e-5);
        step.tensor("p", &mut expected, &limited);
        let norm = step.run().unwrap();
        let got = arena.read(&pool, 192);
        // The update, of 1e-5 · 0.1 / 8 for SGD and 0.1 for Adam, is what is compared.
        let moved = |p: &[f32]| p.iter().zip(parameter.data()).map(|(p, before)| p - before).collect::<Vec<_>>();
        let moved_f64 = moved(expected.data()).iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        compare("update", &moved(&got[..64]), &moved_f64, Tolerance::both(1e-7)).unwrap();
        assert_eq!(got[64..128], gradient.data()[..], "gradients are only read");
        assert_eq!(got[128], 7.0, "the norm has its own place");
        assert!((f64::from(got[129]) - norm).abs() <= 1e-5 * norm);

        // Nothing lies on anything else.
        let mut attempt = |q: std::ops::Range<u64>, norm: std::ops::Range<u64>| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut step = optimizer.step(0.1);
            step.buffer("p", &gpu, pool.slice(..256), pool.slice(256..512));
            step.buffer("q", &gpu, pool.slice(q), pool.slice(512..));
            step.encode(&mut encoder, Some(pool.slice(norm).into())).map_err(|error| match error {
                Error::Buffer { name, .. } => name,
                other => panic!("{other}"),
            })
        };
        let other = arena.buffer(&[0.0]);
        assert_eq!(attempt(0..64, 768..832), Err("parameter"));
        assert_eq!(attempt(256..320, 768..832), Err("parameter"));
        drop(other);
    }
    // PyTorch adds 1e-6 to a norm that it divides by.
    let [p, g] = [0.0, 1e-6].map(|value| arena.buffer(&[value; 64]));
    let mut optimizer = Optimizer::<f32>::new(Sgd::new()).unwrap();
    let mut step = optimizer.step(1.0).clip_norm(4e-6);
    step.buffer("p", &gpu, p.slice(..256), g.slice(..256));
    step.run().unwrap();
    let expected = -1e-6 * 4e-6 / (8e-6 + 1e-6);
    assert!(arena.read(&p, 64).iter().all(|&p| (f64::from(p) - expected).abs() <= 1e-5 * expected.abs()));
    // A recorded step of nothing has the norm 0.
    let norm = arena.poisoned(1);
    let mut optimizer = Optimizer::<f32>::new(Sgd::new()).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    optimizer.step(0.1).encode(&mut encoder, Some((&norm).into())).unwrap();
    // And no norm lies on a gradient.
    let [p, g] = [1, 2].map(|seed| arena.buffer(uniform(&[64], seed).data()));
    let mut step = optimizer.step(0.1);
    step.buffer("p", &gpu, &p, &g);
    assert!(matches!(step.encode(&mut encoder, Some((&g).into())), Err(Error::Buffer { name: "norm", .. })));
    queue.submit([encoder.finish()]);
    assert_eq!(arena.read(&norm, 1), [0.0]);
}
