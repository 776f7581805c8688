//! Training that is recorded into the caller's encoder, over the caller's buffers: the same bits as between host
//! arrays.

use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{
    AdamW, Buffers, Config, Device, Error, GradientBuffers, GruBuffers, GruConfig, GruGradientBuffers, GruKind, Kind,
    Layer, Lstm, LstmBuffers, LstmConfig, LstmKind, Mode, Optimizer, RnnBuffers, RnnConfig, RnnKind, Sgd, Tensor,
};

use crate::encode::Arena;
use crate::support::{bits, gpu, state, uniform};

const T: usize = 5;
const B: usize = 3;

/// A kind of layer with the constructors of its buffers.
trait Recorded: Kind {
    fn buffers<'a>(
        io: [&'a wgpu::Buffer; 2],
        last: &'a [wgpu::Buffer],
        initial: &'a [wgpu::Buffer],
    ) -> Buffers<'a, Self>;
    fn gradients<'a>(
        of: GradientBuffers<'a, Self>,
        last: &'a [wgpu::Buffer],
        initial: &'a [wgpu::Buffer],
    ) -> GradientBuffers<'a, Self>;
}

impl Recorded for LstmKind {
    fn buffers<'a>(
        [x, y]: [&'a wgpu::Buffer; 2],
        last: &'a [wgpu::Buffer],
        initial: &'a [wgpu::Buffer],
    ) -> LstmBuffers<'a> {
        LstmBuffers::new(x, y, &last[0], &last[1]).with_initial(&initial[0], &initial[1])
    }

    fn gradients<'a>(
        of: GradientBuffers<'a, Self>,
        last: &'a [wgpu::Buffer],
        initial: &'a [wgpu::Buffer],
    ) -> GradientBuffers<'a, Self> {
        of.with_last(&last[0], &last[1]).with_initial(&initial[0], &initial[1])
    }
}

macro_rules! recorded_of_h {
    ($kind:ident, $buffers:ident) => {
        impl Recorded for $kind {
            fn buffers<'a>(
                [x, y]: [&'a wgpu::Buffer; 2],
                last: &'a [wgpu::Buffer],
                initial: &'a [wgpu::Buffer],
            ) -> $buffers<'a> {
                $buffers::new(x, y, &last[0]).with_initial(&initial[0])
            }

            fn gradients<'a>(
                of: GradientBuffers<'a, Self>,
                last: &'a [wgpu::Buffer],
                initial: &'a [wgpu::Buffer],
            ) -> GradientBuffers<'a, Self> {
                of.with_last(&last[0]).with_initial(&initial[0])
            }
        }
    };
}
recorded_of_h!(GruKind, GruBuffers);
recorded_of_h!(RnnKind, RnnBuffers);

/// Records three steps of training with lengths, states, clipping and dropout, and compares everything with the same
/// steps between host arrays.
fn check<K: Recorded>(gpu: &Device, config: Config<K>) {
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let layer = Layer::<K>::random(config.clone(), 1).unwrap();
    let [mut on_host, mut recorded] = [(); 2].map(|()| layer.to(gpu).unwrap());
    let [mut host_optimizer, mut optimizer] = [(); 2].map(|()| Optimizer::new(AdamW::new()).unwrap());
    for placed in [&on_host, &recorded] {
        placed.set_mode(Mode::Training { seed: 3 });
    }
    let features = config.directions() * config.recurrent_size();
    let shape = |size| if config.batch_first() { [B, T, size] } else { [T, B, size] };
    let lengths = [5, 2, 0];
    for step in 0..3 {
        let (x, dy) = (uniform(&shape(config.input_size()), 10 + step), uniform(&shape(features), 20 + step));
        let (initial, d_last) = (state(&config, B, 30 + step), state(&config, B, 40 + step));

        let pass = on_host.request(&x).state(&initial).lengths(&lengths).train().run().unwrap();
        let (output, last) = (pass.output().clone(), pass.state().clone());
        let expected = pass.backward(&dy, &d_last).unwrap();
        let mut update = host_optimizer.step(0.01).clip_norm(0.5);
        update.layer("", &mut on_host, expected.weights());
        let norm = update.run().unwrap();

        let of = |state: &K::State<f32>| -> Vec<_> {
            K::arrays(state).into_iter().map(|array| arena.buffer(array.data())).collect()
        };
        let (io, d_io) =
            ([arena.buffer(x.data()), arena.poisoned(output.data().len())], arena.poisoned(x.data().len()));
        let (given_dy, h_0, d_h_n) = (arena.buffer(dy.data()), of(&initial), of(&d_last));
        let (h_n, d_h_0) = (of(&initial), of(&initial));
        let norm_buffer = arena.poisoned(1);
        let mut encoder = device.create_command_encoder(&Default::default());
        let buffers = K::buffers([&io[0], &io[1]], &h_n, &h_0);
        let pass = recorded.request_encode_train(&mut encoder, T, B, &buffers).lengths(&lengths).run().unwrap();
        let of_backward = GradientBuffers::new().with_output(&given_dy).with_input(&d_io);
        let gradients = pass.encode_backward(&mut encoder, &K::gradients(of_backward, &d_h_n, &d_h_0)).unwrap();
        let mut update = optimizer.step(0.01).clip_norm(0.5);
        update.layer("", &mut recorded, &gradients);
        update.encode(&mut encoder, Some((&norm_buffer).into())).unwrap();
        queue.submit([encoder.finish()]);

        let same = |what: &str, buffer: &wgpu::Buffer, expected: &Tensor| {
            let got = Tensor::new(expected.shape(), arena.read(buffer, expected.data().len())).unwrap();
            assert_eq!(bits(&got), bits(expected), "{config}, step {step}: {what}");
        };
        same("output", &io[1], &output);
        same("the gradient of the input", &d_io, expected.input());
        for (n, (last, initial)) in K::arrays(&last).into_iter().zip(K::arrays(expected.initial_state())).enumerate() {
            same("a last state", &h_n[n], last);
            same("the gradient of an initial state", &d_h_0[n], initial);
        }
        let gradients = gradients.named().unwrap().zip(expected.weights().named().unwrap());
        for ((name, got), (_, expected)) in gradients {
            assert_eq!(bits(got), bits(expected), "{config}, step {step}: the gradient of {name}");
        }
        let got = f64::from(arena.read(&norm_buffer, 1)[0]);
        assert!((got - norm).abs() <= 1e-6 * norm, "{config}: {got} instead of {norm}");
        let (got, expected) = (recorded.to_layer().unwrap(), on_host.to_layer().unwrap());
        for ((name, got), (_, expected)) in got.named().zip(expected.named()) {
            assert_eq!(bits(got), bits(expected), "{config}, step {step}: {name}");
        }
    }
    assert_eq!(recorded.mask_count(), on_host.mask_count());
}

#[test]
fn recorded_training_is_training() {
    let Some(gpu) = gpu() else { return };
    check(&gpu, LstmConfig::new(4, 9));
    check(&gpu, LstmConfig::new(4, 9).with_num_layers(3).with_bidirectional(true).with_dropout(0.3));
    check(&gpu, LstmConfig::new(4, 9).with_num_layers(2).with_batch_first(true).with_bias(false).with_proj_size(4));
    check(&gpu, GruConfig::new(4, 9).with_num_layers(2).with_dropout(0.5).with_batch_first(true));
    check(&gpu, GruConfig::new(4, 9).with_num_layers(2).with_reset_after(false).with_bidirectional(true));
    check(&gpu, RnnConfig::new(4, 9).with_num_layers(2).with_bidirectional(true));
}

/// The buffers of a GRU over T and B, with those of the gradients.
struct OfGru {
    x: wgpu::Buffer,
    y: wgpu::Buffer,
    h: wgpu::Buffer,
    dy: wgpu::Buffer,
    dx: wgpu::Buffer,
}

impl OfGru {
    fn new(arena: &Arena<'_>, seed: u64) -> Self {
        Self {
            x: arena.buffer(uniform(&[T, B, 4], seed).data()),
            y: arena.poisoned(T * B * 9),
            h: arena.poisoned(B * 9),
            dy: arena.buffer(uniform(&[T, B, 9], seed + 1).data()),
            dx: arena.poisoned(T * B * 4),
        }
    }

    fn forward(&self) -> GruBuffers<'_> {
        GruBuffers::new(&self.x, &self.y, &self.h)
    }
}

/// Two recorded passes of a shape are alive at once, the gradient of the state goes from one to the other within one
/// submission, and their gradients add up.
#[test]
fn passes_alive_together_are_chained_on_the_device() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let gru = Layer::<GruKind>::random(GruConfig::new(4, 9), 1).unwrap().to(&gpu).unwrap();
    let (one, two) = (OfGru::new(&arena, 2), OfGru::new(&arena, 4));
    let dh = arena.poisoned(B * 9);

    let mut encoder = device.create_command_encoder(&Default::default());
    let first = gru.encode_train(&mut encoder, T, B, &one.forward()).unwrap();
    let second = gru.encode_train(&mut encoder, T, B, &two.forward().with_initial(&one.h)).unwrap();
    let of_two = GruGradientBuffers::new().with_output(&two.dy).with_initial(&dh);
    let of_two = second.encode_backward(&mut encoder, &of_two).unwrap();
    // h_0 takes the place of h_n.
    let of_one = GruGradientBuffers::new().with_output(&one.dy).with_last(&dh).with_initial(&dh).with_input(&one.dx);
    let mut sum = first.encode_backward(&mut encoder, &of_one).unwrap();
    queue.submit([encoder.finish()]);
    sum.accumulate(&of_two).unwrap();

    let x = |seed| uniform(&[T, B, 4], seed);
    let dy = |seed| uniform(&[T, B, 9], seed);
    let first = gru.forward_train(&x(2), None).unwrap();
    let second = gru.forward_train(&x(4), first.state()).unwrap();
    let of_two = second.backward(&dy(5), None).unwrap();
    let of_one = first.backward(&dy(3), of_two.initial_state()).unwrap();
    let got = Tensor::new([T, B, 4], arena.read(&one.dx, T * B * 4)).unwrap();
    assert_eq!(bits(&got), bits(of_one.input()));
    let got = Tensor::new([1, B, 9], arena.read(&dh, B * 9)).unwrap();
    assert_eq!(bits(&got), bits(of_one.initial_state()));
    let mut expected = of_one.into_weights();
    expected.accumulate(of_two.weights()).unwrap();
    for ((name, got), (_, expected)) in sum.named().unwrap().zip(expected.named().unwrap()) {
        assert_eq!(bits(got), bits(expected), "{name}");
    }
}

/// Gradients that are not given are zero, and those of an empty batch, too; a forward whose backward never comes is
/// only a forward.
#[test]
fn gradients_that_are_not_given_are_zero() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let gru = Layer::<GruKind>::random(GruConfig::new(4, 9), 1).unwrap().to(&gpu).unwrap();
    let of = OfGru::new(&arena, 2);
    let mut encoder = device.create_command_encoder(&Default::default());
    drop(gru.encode_train(&mut encoder, T, B, &of.forward()).unwrap());
    let dh = arena.poisoned(B * 9);
    for (time_steps, batch) in [(T, B), (0, B), (T, 0)] {
        let pass = gru.encode_train(&mut encoder, time_steps, batch, &of.forward()).unwrap();
        let gradients = pass.encode_backward(&mut encoder, &GruGradientBuffers::new().with_initial(&dh)).unwrap();
        queue.submit([std::mem::replace(&mut encoder, device.create_command_encoder(&Default::default())).finish()]);
        assert!(gradients.named().unwrap().all(|(_, tensor)| tensor.data().iter().all(|&v| v == 0.0)));
        assert_eq!(arena.read(&dh, B * 9), [0.0; B * 9]);
    }
    let got = Tensor::new([T, B, 9], arena.read(&of.y, T * B * 9)).unwrap();
    let expected = gru.forward(&uniform(&[T, B, 4], 2), None).unwrap().0;
    assert_eq!(bits(&got), bits(&expected));
}

#[test]
fn unsuitable_buffers_of_gradients_are_errors() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let gru = Layer::<GruKind>::random(GruConfig::new(4, 9), 1).unwrap().to(&gpu).unwrap();
    let of = OfGru::new(&arena, 2);
    let buffer = |bytes: usize, usage| {
        let size = bytes as u64;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let attempt = |buffers: &GruGradientBuffers<'_>| {
        let mut encoder = device.create_command_encoder(&Default::default());
        let pass = gru.encode_train(&mut encoder, T, B, &of.forward()).unwrap();
        match pass.encode_backward(&mut encoder, buffers).map(drop).unwrap_err() {
            Error::Buffer { name, .. } => name,
            other => panic!("{other}"),
        }
    };
    let new = GruGradientBuffers::new;
    let (all, little) = (Use::STORAGE | Use::COPY_SRC | Use::COPY_DST, T * B * 4 * 4 - 4);
    let (output, input) = ("the gradient of the output", "the gradient of the input");
    assert_eq!(attempt(&new().with_output(&buffer(little, all))), output);
    assert_eq!(attempt(&new().with_output(&buffer(4096, Use::COPY_SRC))), output);
    assert_eq!(attempt(&new().with_input(&buffer(little, all))), input);
    assert_eq!(attempt(&new().with_input(&buffer(4096, Use::STORAGE))), input);
    assert_eq!(attempt(&new().with_last(&buffer(4096, Use::STORAGE))), "the gradient of h_n");
    assert_eq!(attempt(&new().with_initial(&buffer(4096, Use::STORAGE))), "the gradient of h_0");
    // Two things in one place.
    assert_eq!(attempt(&new().with_output(&of.dy).with_input(&of.dy)), input);
    assert_eq!(attempt(&new().with_input(&of.x)), input);
    assert_eq!(attempt(&new().with_input(&of.y)), input);
    let pool = buffer(4096, all);
    assert_eq!(attempt(&new().with_last(&pool).with_initial(pool.slice(4..))), "the gradient of h_0");
}

/// A recorded step changes weights in place, which clones and streams would see.
#[test]
fn a_step_of_shared_weights_is_not_recorded() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let mut lstm = Lstm::random(LstmConfig::new(3, 4), 1).unwrap().to(&gpu).unwrap();
    let gradients = lstm.forward_train(&uniform(&[4, 2, 3], 2), None).unwrap().backward(None, None).unwrap();
    let mut optimizer = Optimizer::new(Sgd::new()).unwrap();
    let mut attempt = |lstm: &mut _| {
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut step = optimizer.step(0.1);
        step.layer("", lstm, gradients.weights());
        let result = step.encode(&mut encoder, None);
        queue.submit([encoder.finish()]);
        result
    };
    let clone = lstm.clone();
    assert!(matches!(attempt(&mut lstm), Err(Error::Unsupported { .. })));
    drop(clone);
    let streams = lstm.streams(1).run().unwrap();
    assert!(matches!(attempt(&mut lstm), Err(Error::Unsupported { .. })));
    drop(streams);
    attempt(&mut lstm).unwrap();
    let mut on_cpu = Lstm::random(LstmConfig::new(3, 4), 1).unwrap().to(&Device::cpu()).unwrap();
    assert!(matches!(attempt(&mut on_cpu), Err(Error::Unsupported { .. })));
}

/// A pass without states after one with states of the shape starts from zeros, and gradients that somebody holds stay
/// those of their pass, whatever is recorded next.
#[test]
fn recorded_passes_leave_each_other_nothing() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let gru = Layer::<GruKind>::random(GruConfig::new(4, 9), 1).unwrap().to(&gpu).unwrap();
    let of = OfGru::new(&arena, 2);
    let [h_0, dh] = [6, 7].map(|seed| arena.buffer(uniform(&[B, 9], seed).data()));
    let mut encoder = device.create_command_encoder(&Default::default());
    let pass = gru.encode_train(&mut encoder, T, B, &of.forward().with_initial(&h_0)).unwrap();
    let with_last = GruGradientBuffers::new().with_output(&of.dy).with_last(&dh);
    let first = pass.encode_backward(&mut encoder, &with_last).unwrap();
    let pass = gru.encode_train(&mut encoder, T, B, &of.forward()).unwrap();
    let second = pass.encode_backward(&mut encoder, &GruGradientBuffers::new().with_output(&of.dy)).unwrap();
    queue.submit([encoder.finish()]);

    let (x, dy) = (uniform(&[T, B, 4], 2), uniform(&[T, B, 9], 3));
    let [initial, last] = [6, 7].map(|seed| uniform(&[1, B, 9], seed));
    let with_states = gru.forward_train(&x, &initial).unwrap().backward(&dy, &last).unwrap();
    let without = gru.forward_train(&x, None).unwrap().backward(&dy, None).unwrap();
    for (got, expected) in [(first, with_states), (second, without)] {
        for ((name, got), (_, expected)) in got.named().unwrap().zip(expected.weights().named().unwrap()) {
            assert_eq!(bits(got), bits(expected), "{name}");
        }
    }
}
