//! Gradients on a GPU: they are those of the reference for every shape of the kernels' tiles, and nothing around a pass
//! changes a bit of them.

use wgpu_rnn::{
    Config, Device, Error, Gradients, Gru, GruConfig, Kind, Layer, LayerWeights, Lstm, LstmConfig, Mode, Nonlinearity,
    Pass, Placed, RnnConfig, Tensor,
};

use crate::compare::{Tolerance, compare};
use crate::support::{every_gradient, gpu, reduction_length, state, to_f64, uniform};

/// Calls a check with a layer of each cell, and with whatever follows the sizes.
macro_rules! for_every_cell {
    ($check:ident($gpu:expr), $input:expr, $hidden:expr, $proj_size:expr $(, $more:expr)*) => {
        $check($gpu, LstmConfig::new($input, $hidden) $(, $more)*);
        $check($gpu, LstmConfig::new($input, $hidden).with_proj_size($proj_size) $(, $more)*);
        $check($gpu, GruConfig::new($input, $hidden) $(, $more)*);
        $check($gpu, GruConfig::new($input, $hidden).with_reset_after(false) $(, $more)*);
        $check($gpu, RnnConfig::new($input, $hidden) $(, $more)*);
        $check($gpu, RnnConfig::new($input, $hidden).with_nonlinearity(Nonlinearity::Relu) $(, $more)*);
    };
}

/// A training pass over random numbers, with every gradient given.
struct Problem<K: Kind> {
    layer: Layer<K>,
    input: Tensor,
    state: K::State<f32>,
    lengths: Vec<usize>,
    of_output: Tensor,
    of_state: K::State<f32>,
}

impl<K: Kind> Problem<K> {
    fn new(config: Config<K>, t: usize, lengths: &[usize]) -> Self {
        let b = lengths.len();
        let rows = if config.batch_first() { [b, t] } else { [t, b] };
        let output = config.directions() * config.recurrent_size();
        Self {
            layer: Layer::random(config.clone(), 1).unwrap(),
            input: uniform(&[rows[0], rows[1], config.input_size()], 2),
            state: state(&config, b, 3),
            lengths: lengths.to_vec(),
            of_output: uniform(&[rows[0], rows[1], output], 5),
            of_state: state(&config, b, 6),
        }
    }

    fn placed(&self, device: &Device) -> Placed<K> {
        let placed = self.layer.to(device).unwrap();
        placed.set_mode(Mode::Training { seed: 9 });
        placed
    }

    fn begin<'a>(&'a self, placed: &'a Placed<K>) -> Result<Pass<'a, K>, Error> {
        placed.request(&self.input).state(&self.state).lengths(&self.lengths).train().run()
    }

    fn gradients(&self, placed: &Placed<K>) -> Result<Gradients<K>, Error> {
        self.begin(placed)?.backward(&self.of_output, &self.of_state)
    }

    /// Returns the gradients of the reference in f64.
    fn expected(&self) -> Gradients<K, f64> {
        let placed = self.layer.cast::<f64>().unwrap().to(&Device::cpu()).unwrap();
        placed.set_mode(Mode::Training { seed: 9 });
        let (input, state) = (self.input.cast().unwrap(), to_f64::<K>(&self.state));
        let pass = placed.request(&input).state(&state).lengths(&self.lengths).train().run().unwrap();
        pass.backward(&self.of_output.cast().unwrap(), &to_f64::<K>(&self.of_state)).unwrap()
    }
}

fn bits<K: Kind>(gradients: &Gradients<K>) -> Vec<Vec<u32>> {
    every_gradient(gradients).iter().map(|(_, tensor)| tensor.data().iter().map(|v| v.to_bits()).collect()).collect()
}

/// Compares with the reference. The tolerance is linear in the terms of the longest sums, those over the rows among
/// them, and in the layers. It is relative to the tensor's largest value, or to that of the gradients which are given,
/// 1, from which small gradients are differences.
fn check<K: Kind>(device: &Device, config: Config<K>, t: usize, lengths: &[usize]) {
    check_problem(device, &Problem::new(config, t, lengths), t);
}

fn check_problem<K: Kind>(device: &Device, problem: &Problem<K>, t: usize) {
    let (got, expected) = (problem.gradients(&problem.placed(device)).unwrap(), problem.expected());
    let (config, lengths) = (problem.layer.config(), &problem.lengths);
    let terms = config.num_layers() * (t * lengths.len() + 2 * reduction_length(config));
    for ((key, got), (_, expected)) in every_gradient(&got).into_iter().zip(every_gradient(&expected)) {
        let largest = expected.data().iter().fold(1.0_f64, |largest, v| largest.max(v.abs()));
        let absolute = terms as f64 * f64::from(f32::EPSILON) * largest;
        let name = format!("{} over T = {t}, lengths {lengths:?}: {key}", problem.layer);
        compare(&name, got.data(), expected.data(), Tolerance { absolute, relative: 0.0 }).unwrap();
    }
}

/// Sizes around those of the tiles: 4 and 8 rows, 4, 8 and 16 values, 8 and 16 units, 16 rows and 64 columns of the
/// gradients of weights.
#[test]
fn gradients_around_the_tiles_are_those_of_the_reference() {
    let Some(gpu) = gpu() else { return };
    for (input, hidden, lengths) in [
        (1, 1, vec![3]),
        (3, 7, vec![3, 2, 0, 3]),
        (63, 8, vec![2, 3, 1, 1, 0]),
        (64, 9, vec![3; 9]),
        (17, 17, vec![3; 17]),
        (5, 33, vec![1; 4]),
        (2, 64, vec![3, 1, 2]),
        (65, 70, vec![2, 1]),
    ] {
        for_every_cell!(check(&gpu), input, hidden, hidden / 3, 3, &lengths);
    }
}

/// More features than a dispatch of the input product takes: only the last ones are not 0, so that all depends on them.
#[test]
fn gradients_of_the_last_of_many_features_are_those_of_the_reference() {
    fn check<K: Kind>(gpu: &Device, config: Config<K>) {
        let mut problem = Problem::new(config, 2, &[2, 1]);
        problem.input.data_mut().chunks_exact_mut(16_400).for_each(|features| features[..16_384].fill(0.0));
        check_problem(gpu, &problem, 2);
    }
    let Some(gpu) = gpu() else { return };
    check(&gpu, LstmConfig::new(16_400, 3));
    check(&gpu, GruConfig::new(16_400, 3).with_reset_after(false));
    check(&gpu, RnnConfig::new(16_400, 3));
}

/// More rows than a dispatch of the gradients of weights takes: whole numbers, whose sums are exact in any order.
#[test]
fn sums_over_many_rows_miss_none() {
    let Some(gpu) = gpu() else { return };
    let (t, b) = (2, 9000);
    let of = |shape: &[usize], values: usize| {
        let data = (0..shape.iter().product()).map(|i| (1 + i % values) as f32).collect::<Vec<_>>();
        Tensor::new(shape, data).unwrap()
    };
    let config = RnnConfig::new(1, 1).with_nonlinearity(Nonlinearity::Relu).with_bidirectional(true);
    let ones = || Tensor::new([1, 1], [1.0]).unwrap();
    let zeros = || Tensor::zeros([1]).unwrap();
    let weights = || LayerWeights::new(ones(), ones()).with_bias(zeros(), zeros());
    let layer = Layer::new(config, vec![weights(), weights()]).unwrap();
    let input = of(&[t, b, 1], 3);
    let gradients = |device: &Device| {
        let placed = layer.to(device).unwrap();
        let pass = placed.forward_train(&input, &of(&[2, b, 1], 4)).unwrap();
        bits(&pass.backward(&of(&[t, b, 2], 5), &of(&[2, b, 1], 2)).unwrap())
    };
    assert!(gradients(&gpu) == gradients(&Device::cpu()));
}

/// Returns a stack of each kind with everything that may go wrong between layers.
fn deep<K: Kind>(config: Config<K>) -> Config<K> {
    config.with_num_layers(3).with_bidirectional(true).with_batch_first(true).with_dropout(0.4)
}

#[test]
fn gradients_of_deep_layers_are_those_of_the_reference() {
    let Some(gpu) = gpu() else { return };
    let lengths = [6, 1, 4, 0, 6];
    check(&gpu, deep(LstmConfig::new(5, 11)), 6, &lengths);
    check(&gpu, deep(LstmConfig::new(5, 11)).with_proj_size(4), 6, &lengths);
    check(&gpu, deep(GruConfig::new(5, 11)), 6, &lengths);
    check(&gpu, deep(GruConfig::new(5, 11)).with_reset_after(false), 6, &lengths);
    check(&gpu, deep(RnnConfig::new(5, 11)).with_bias(false), 6, &lengths);
}

/// Less memory means shorter chunks, down to one step, and the same bits. Too little is an error before any work, after
/// which the next pass runs as if nothing had happened.
#[test]
fn less_memory_gives_the_same_gradients() {
    fn check<K: Kind>(gpu: &Device, config: Config<K>) {
        let t = 40;
        let problem = Problem::new(config, t, &[40, 11, 0, 39]);
        let placed = problem.placed(gpu);
        let masks = placed.mask_count();
        let expected = bits(&problem.gradients(&placed).unwrap());
        let free = placed.plan_training(t, 4).unwrap();
        assert_eq!(free.backward_chunk_steps(), t);
        let mut limit = free.device_bytes();
        let mut chunks = Vec::new();
        loop {
            limit -= free.device_bytes() / 200;
            placed.set_memory_limit(limit);
            let Ok(plan) = placed.plan_training(t, 4) else { break };
            assert!(plan.device_bytes() <= limit, "{plan}");
            if chunks.last() != Some(&plan.backward_chunk_steps()) {
                chunks.push(plan.backward_chunk_steps());
                placed.set_mask_count(masks);
                let name = format!("{} in chunks of {}", problem.layer, plan.backward_chunk_steps());
                assert!(bits(&problem.gradients(&placed).unwrap()) == expected, "{name}");
            }
        }
        assert!(chunks.len() > 3 && chunks.is_sorted_by(|a, b| a > b), "{chunks:?}");
        let before = placed.mask_count();
        let limit = "the bytes that set_memory_limit allows";
        assert!(matches!(problem.gradients(&placed), Err(Error::Limit { limit: l, .. }) if l == limit));
        assert_eq!(placed.mask_count(), before, "a rejected call draws no masks");
    }
    let Some(gpu) = gpu() else { return };
    check(&gpu, LstmConfig::new(3, 24).with_num_layers(2).with_bidirectional(true).with_dropout(0.5));
    check(&gpu, LstmConfig::new(3, 24).with_proj_size(5));
    check(&gpu, GruConfig::new(3, 24));
    check(&gpu, GruConfig::new(3, 24).with_reset_after(false));
    check(&gpu, RnnConfig::new(3, 24).with_bidirectional(true));
}

/// A pass owns what it keeps: passes of other shapes, alive at the same time, and on other threads change nothing.
#[test]
fn passes_do_not_disturb_each_other() {
    let Some(gpu) = gpu() else { return };
    let small = Problem::new(LstmConfig::new(3, 10).with_num_layers(2), 5, &[5, 3]);
    let placed = small.layer.to(&gpu).unwrap();
    let large = Problem { layer: small.layer.clone(), ..Problem::new(small.layer.config().clone(), 9, &[9; 7]) };
    let expected = [&small, &large].map(|problem| bits(&problem.gradients(&placed).unwrap()));
    let end =
        |pass: Pass<'_, _>, problem: &Problem<_>| bits(&pass.backward(&problem.of_output, &problem.of_state).unwrap());
    // Two of one shape, one of another, and one that is given up.
    let passes = [&small, &large, &small, &small].map(|problem| problem.begin(&placed).unwrap());
    placed.forward(&small.input, None).unwrap();
    let [first, second, third, _] = passes;
    assert!(end(third, &small) == expected[0]);
    assert!(end(second, &large) == expected[1]);
    assert!(end(first, &small) == expected[0]);
    std::thread::scope(|scope| {
        let threads = [&small, &large, &small, &large].map(|problem| {
            scope.spawn(|| (0..3).map(|_| bits(&problem.gradients(&placed).unwrap())).collect::<Vec<_>>())
        });
        for (thread, expected) in threads.into_iter().zip(expected.iter().cycle()) {
            assert!(thread.join().unwrap().iter().all(|got| got == expected));
        }
    });
}

/// What is not given is zero, whatever an earlier pass was given: its arrays serve the next one.
#[test]
fn nothing_of_an_earlier_pass_remains() {
    fn check<K: Kind>(gpu: &Device, config: Config<K>) {
        let problem = Problem::new(config.with_num_layers(2).with_bidirectional(true), 4, &[4, 0, 3]);
        let of = |placed: &Placed<K>, of_output: Option<&Tensor>, of_state: Option<&K::State<f32>>| {
            let pass = placed.request(&problem.input).lengths(&problem.lengths).train().run().unwrap();
            bits(&pass.backward(of_output, of_state).unwrap())
        };
        let placed = problem.placed(gpu);
        for given in [(Some(&problem.of_output), None), (None, Some(&problem.of_state))] {
            let expected = of(&problem.placed(gpu), given.0, given.1);
            problem.gradients(&placed).unwrap();
            assert!(of(&placed, given.0, given.1) == expected, "{}", problem.layer);
        }
    }
    let Some(gpu) = gpu() else { return };
    for_every_cell!(check(&gpu), 4, 6, 2);
}

/// The caller's padding changes no bit, and the gradient of the input is 0 there.
#[test]
fn padding_is_neither_read_nor_written() {
    fn check<K: Kind>(gpu: &Device, config: Config<K>) {
        let lengths = [5, 3, 0];
        let mut problem = Problem::new(config.with_num_layers(2).with_bidirectional(true), 5, &lengths);
        let placed = problem.placed(gpu);
        let expected = bits(&problem.gradients(&placed).unwrap());
        let is_padding = |row: usize| row / 3 >= lengths[row % 3];
        for tensor in [&mut problem.input, &mut problem.of_output] {
            let features = tensor.data().len() / 15;
            let rows = tensor.data_mut().chunks_exact_mut(features).enumerate();
            rows.filter(|(row, _)| is_padding(*row)).for_each(|(_, values)| values.fill(f32::NAN));
        }
        let got = problem.gradients(&placed).unwrap();
        assert!(bits(&got) == expected, "{}", problem.layer);
        for (row, values) in got.input().data().chunks_exact(4).enumerate() {
            assert_eq!(values.iter().all(|&v| v == 0.0), is_padding(row), "{} row {row}", problem.layer);
        }
    }
    let Some(gpu) = gpu() else { return };
    for_every_cell!(check(&gpu), 4, 6, 2);
}

/// Checks that values that are not finite are those of the reference, and that the others are near.
fn check_values<K: Kind>(gpu: &Device, problem: &Problem<K>) {
    let (got, expected) = (problem.gradients(&problem.placed(gpu)).unwrap(), problem.expected());
    for ((key, got), (_, expected)) in every_gradient(&got).into_iter().zip(every_gradient(&expected)) {
        for (i, (&got, &expected)) in got.data().iter().zip(expected.data()).enumerate() {
            let got = f64::from(got);
            let agrees = got == expected || got.is_nan() && expected.is_nan() || (got - expected).abs() < 1e-4;
            assert!(agrees, "{} {key} {i}: {got} instead of {expected}", problem.layer);
        }
    }
}

/// A NaN in the input of one row reaches what it reaches in the reference: where h is NaN, a gradient passes, and the
/// other rows have none.
#[test]
fn a_nan_goes_where_it_goes_in_the_reference() {
    fn check<K: Kind>(gpu: &Device, config: Config<K>) {
        let mut problem = Problem::new(config.with_num_layers(2).with_bidirectional(true), 5, &[5, 4, 5]);
        let features = problem.input.shape()[2];
        // The second step of the second row.
        problem.input.data_mut()[4 * features] = f32::NAN;
        check_values(gpu, &problem);
    }
    let Some(gpu) = gpu() else { return };
    for_every_cell!(check(&gpu), 4, 9, 3);
}

/// An infinite gradient stays infinite where it does in the reference: nothing is multiplied by a weight that does not
/// exist.
#[test]
fn an_infinite_gradient_goes_where_it_goes_in_the_reference() {
    fn check<K: Kind>(gpu: &Device, config: Config<K>) {
        let mut problem = Problem::new(config, 1, &[1, 1]);
        // The last value of the first row.
        let last = problem.of_output.data().len() / 2 - 1;
        problem.of_output.data_mut()[last] = f32::INFINITY;
        check_values(gpu, &problem);
    }
    let Some(gpu) = gpu() else { return };
    for_every_cell!(check(&gpu), 4, 9, 3);
}

/// A forward that is followed by a backward has the results of one that is not.
#[test]
fn the_forward_of_a_pass_is_the_forward() {
    let Some(gpu) = gpu() else { return };
    let config = LstmConfig::new(4, 20).with_num_layers(2).with_bidirectional(true);
    let problem = Problem::new(config, 7, &[7, 2, 0, 6]);
    let placed = problem.layer.to(&gpu).unwrap();
    let request = || placed.request(&problem.input).state(&problem.state).lengths(&problem.lengths);
    let (output, last) = request().run().unwrap();
    let pass = request().train().run().unwrap();
    assert_eq!((pass.output().data(), pass.state()), (output.data(), &last));
}

/// Sizes that overflow are errors of the plan, and those of nothing at all are none.
#[test]
fn a_plan_of_any_size_is_a_plan_or_a_limit() {
    const MOST: usize = usize::MAX;
    fn check<K: Kind>(gpu: &Device, config: Config<K>) {
        let placed = Layer::<K>::random(config, 1).unwrap().to(gpu).unwrap();
        for (t, b) in [(MOST, 1), (1, MOST), (MOST, MOST), (MOST / 2, 2), (MOST / 8, 1), (1, MOST / 8), (1 << 32, 1)] {
            let plan = placed.plan_training(t, b);
            assert!(matches!(plan, Err(Error::Limit { .. })), "{} over T = {t}, B = {b}: {plan:?}", placed.config());
        }
        for (t, b) in [(0, 0), (0, 3), (3, 0), (MOST, 0)] {
            let plan = placed.plan_training(t, b).unwrap();
            assert_eq!(plan.backward_dispatch_count(), 0, "{} over T = {t}, B = {b}", placed.config());
        }
    }
    let Some(gpu) = gpu() else { return };
    check(&gpu, LstmConfig::new(3, 5).with_num_layers(3).with_bidirectional(true));
    for_every_cell!(check(&gpu), 3, 5, 2);
}

/// T = 0 and B = 0 have nothing to run; p = 1 drops everything.
#[test]
fn the_ends_of_the_range_have_gradients() {
    let Some(gpu) = gpu() else { return };
    let gru = Gru::random(GruConfig::new(2, 3), 1).unwrap().to(&gpu).unwrap();
    for shape in [[0, 2, 2], [3, 0, 2]] {
        let x = Tensor::zeros(shape).unwrap();
        let pass = gru.forward_train(&x, None).unwrap();
        let of_state = uniform(&[1, shape[1], 3], 4);
        let gradients = pass.backward(None, &of_state).unwrap();
        assert_eq!((gradients.input().shape(), gradients.initial_state()), (&shape[..], &of_state));
        assert!(gradients.weights().named().unwrap().all(|(_, gradient)| gradient.data().iter().all(|&v| v == 0.0)));
    }
    let config = LstmConfig::new(2, 3).with_num_layers(2).with_dropout(1.0);
    let lstm = Lstm::random(config, 1).unwrap().to(&gpu).unwrap();
    lstm.set_mode(Mode::Training { seed: 1 });
    let pass = lstm.forward_train(&uniform(&[4, 2, 2], 1), None).unwrap();
    let dy = pass.output().clone();
    let gradients = pass.backward(&dy, None).unwrap();
    // Nothing reaches the layer below.
    assert!(gradients.input().data().iter().all(|&v| v == 0.0));
    assert!(gradients.weights().layers().unwrap()[0].weight_ih().data().iter().all(|&v| v == 0.0));
    assert!(gradients.weights().layers().unwrap()[1].weight_hh().data().iter().any(|&v| v != 0.0));
}
