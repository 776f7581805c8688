//! A cell's steps in the caller's encoder, over the caller's buffers.

use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{
    Cell, CellBuffers, CellConfig, Device, Error, GruCellBuffers, GruKind, Kind, LstmCell, LstmCellBuffers,
    LstmCellConfig, LstmKind, LstmState, PlacedCell, PlacedLstmCell, RnnCellBuffers, RnnKind, Tensor,
};

use crate::encode::Arena;
use crate::support::{bits, gpu, uniform};

const I: usize = 5;
const H: usize = 9;

fn cell<K: Kind>(gpu: &Device) -> PlacedCell<K> {
    Cell::random(CellConfig::<K>::new(I, H), 1).unwrap().to(gpu).unwrap()
}

fn lstm(gpu: &Device) -> PlacedLstmCell {
    cell(gpu)
}

/// The state that the kind's own buffers are of: h, and c.
fn state<K: Kind>(batch: usize) -> K::State<f32> {
    K::state((0..K::STATES).map(|s| uniform(&[batch, H], 20 + s as u64)).collect()).unwrap()
}

fn bits_of<K: Kind>(state: &K::State<f32>) -> Vec<Vec<u64>> {
    K::arrays(state).into_iter().map(bits).collect()
}

/// `T` recorded steps of one submission, and the same between arrays of the host. `buffers` takes the input, the last
/// states and, if wanted, the initial ones.
fn check_steps<K: Kind>(
    gpu: &Device,
    buffers: impl for<'a> Fn(&'a wgpu::Buffer, &'a [wgpu::Buffer], Option<&'a [wgpu::Buffer]>) -> CellBuffers<'a, K>,
) {
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let cell = cell::<K>(gpu);
    for batch in [1, 3, 17] {
        for initial in [None, Some(state::<K>(batch))] {
            let name = format!("{cell}, batch {batch}, from zeros: {}", initial.is_none());
            let steps: Vec<Tensor> = (0..5).map(|t| uniform(&[batch, I], t)).collect();
            let own: Vec<wgpu::Buffer> = match &initial {
                None => (0..K::STATES).map(|_| arena.poisoned(batch * H)).collect(),
                Some(state) => K::arrays(state).into_iter().map(|array| arena.buffer(array.data())).collect(),
            };
            let inputs: Vec<_> = steps.iter().map(|x_t| arena.buffer(x_t.data())).collect();
            let mut encoder = device.create_command_encoder(&Default::default());
            for (t, input) in inputs.iter().enumerate() {
                // From its second step on a state is there in any case.
                let carried = (t > 0 || initial.is_some()).then_some(&own[..]);
                let buffers = buffers(input, &own, carried);
                if t % 2 == 0 {
                    cell.encode(&mut encoder, batch, &buffers).unwrap();
                } else {
                    pollster::block_on(cell.request_encode(&mut encoder, batch, &buffers)).unwrap();
                }
            }
            queue.submit([encoder.finish()]);
            let mut expected = initial;
            for x_t in &steps {
                expected = Some(cell.forward(x_t, expected.as_ref()).unwrap());
            }
            let read = |buffer| Tensor::new([batch, H], arena.read(buffer, batch * H)).unwrap();
            let got = K::state(own.iter().map(read).collect()).unwrap();
            assert_eq!(bits_of::<K>(&got), bits_of::<K>(&expected.unwrap()), "{name}");
        }
    }
}

#[test]
fn recorded_steps_are_steps() {
    let Some(gpu) = gpu() else { return };
    check_steps::<LstmKind>(&gpu, |input, own, initial| {
        let buffers = LstmCellBuffers::new(input, &own[0], &own[1]);
        initial.map_or(buffers.clone(), |initial| buffers.with_initial(&initial[0], &initial[1]))
    });
    check_steps::<GruKind>(&gpu, |input, own, initial| {
        let buffers = GruCellBuffers::new(input, &own[0]);
        initial.map_or(buffers.clone(), |initial| buffers.with_initial(&initial[0]))
    });
    check_steps::<RnnKind>(&gpu, |input, own, initial| {
        let buffers = RnnCellBuffers::new(input, &own[0]);
        initial.map_or(buffers.clone(), |initial| buffers.with_initial(&initial[0]))
    });
}

/// Commands of the program's own between the steps of one submission see the state, and are seen by the next step.
#[test]
fn the_state_is_the_programs_between_steps() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let (cell, batch) = (lstm(&gpu), 2);
    let LstmState { h, c } = state::<LstmKind>(batch);
    let x: Vec<Tensor> = (0..3).map(|t| uniform(&[batch, I], t)).collect();
    let other = uniform(&[batch, H], 7);

    let [own_h, own_c, own_other] = [&h, &c, &other].map(|array| arena.buffer(array.data()));
    let seen = arena.poisoned(batch * H);
    let inputs: Vec<_> = x.iter().map(|x_t| arena.buffer(x_t.data())).collect();
    let bytes = (batch * H * 4) as u64;
    let mut encoder = device.create_command_encoder(&Default::default());
    let step = |encoder: &mut wgpu::CommandEncoder, t: usize| {
        let buffers = LstmCellBuffers::new(&inputs[t], &own_h, &own_c).with_initial(&own_h, &own_c);
        cell.encode(encoder, batch, &buffers).unwrap();
    };
    step(&mut encoder, 0);
    encoder.copy_buffer_to_buffer(&own_h, 0, &seen, 0, bytes);
    encoder.clear_buffer(&own_c, 0, Some(bytes));
    step(&mut encoder, 1);
    encoder.copy_buffer_to_buffer(&own_other, 0, &own_h, 0, bytes);
    step(&mut encoder, 2);
    queue.submit([encoder.finish()]);

    let first = cell.forward(&x[0], &LstmState { h, c }).unwrap();
    let second = cell.forward(&x[1], &LstmState { h: first.h.clone(), c: Tensor::zeros([batch, H]).unwrap() }).unwrap();
    let third = cell.forward(&x[2], &LstmState { h: other, c: second.c }).unwrap();
    for (name, buffer, expected) in [("h seen", &seen, first.h), ("h", &own_h, third.h), ("c", &own_c, third.c)] {
        let got = Tensor::new([batch, H], arena.read(buffer, batch * H)).unwrap();
        assert_eq!(bits(&got), bits(&expected), "{name}");
    }
}

/// Bytes of an array, each at the next place where one may begin.
fn places(device: &wgpu::Device, bytes: &[u64]) -> Vec<std::ops::Range<u64>> {
    let alignment = u64::from(device.limits().min_storage_buffer_offset_alignment);
    let mut end = 0;
    let place = |&bytes: &u64| {
        // Something of somebody else's is between two arrays.
        let start = (end + 4_u64).next_multiple_of(alignment);
        end = start + bytes;
        start..end
    };
    bytes.iter().map(place).collect()
}

/// One buffer for everything: inputs, h of every step, c that wanders between two places. What lies between stays.
#[test]
fn all_arrays_may_be_ranges_of_one_buffer() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let (cell, batch, steps) = (lstm(&gpu), 3, 4);
    let sizes = cell.buffer_sizes(batch).unwrap();
    let (input, h, c) = (sizes.input, sizes.h, sizes.c.unwrap());
    assert_eq!([input, h, c], [batch * I, batch * H, batch * H].map(|elements| 4 * elements as u64));

    // x of each step, h before the first and after each, two places for c.
    let bytes: Vec<u64> = [vec![input; steps], vec![h; steps + 1], vec![c; 2]].concat();
    let places = places(device, &bytes);
    let end = places.last().unwrap().end as usize / 4;
    let mut image = vec![5.0_f32; end + 16];
    let initial = state::<LstmKind>(batch);
    let x: Vec<Tensor> = (0..steps).map(|t| uniform(&[batch, I], t as u64)).collect();
    let put = |image: &mut Vec<f32>, place: &std::ops::Range<u64>, array: &Tensor| {
        image[place.start as usize / 4..place.end as usize / 4].copy_from_slice(array.data());
    };
    let (x_places, rest) = places.split_at(steps);
    let (h_places, c_places) = rest.split_at(steps + 1);
    x_places.iter().zip(&x).for_each(|(place, x_t)| put(&mut image, place, x_t));
    put(&mut image, &h_places[0], &initial.h);
    put(&mut image, &c_places[0], &initial.c);
    let pool = arena.buffer(&image);

    let mut encoder = device.create_command_encoder(&Default::default());
    for t in 0..steps {
        let range = |place: &std::ops::Range<u64>| pool.slice(place.clone());
        let buffers = LstmCellBuffers::new(range(&x_places[t]), range(&h_places[t + 1]), range(&c_places[(t + 1) % 2]))
            .with_initial(range(&h_places[t]), range(&c_places[t % 2]));
        cell.encode(&mut encoder, batch, &buffers).unwrap();
    }
    queue.submit([encoder.finish()]);

    let mut state = initial;
    for t in 0..steps {
        let before = state;
        state = cell.forward(&x[t], &before).unwrap();
        put(&mut image, &h_places[t + 1], &state.h);
        put(&mut image, &c_places[(t + 1) % 2], &state.c);
    }
    let expected = Tensor::new([image.len()], image).unwrap();
    let got = arena.read(&pool, expected.data().len());
    assert_eq!(bits(&Tensor::new([got.len()], got).unwrap()), bits(&expected));
}

#[test]
fn a_step_of_no_rows_records_nothing() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let cell = lstm(&gpu);
    let [input, h, c] = [(); 3].map(|()| arena.buffer(&[1.0; 16]));
    let mut encoder = device.create_command_encoder(&Default::default());
    cell.encode(&mut encoder, 0, &LstmCellBuffers::new(&input, &h, &c)).unwrap();
    queue.submit([encoder.finish()]);
    assert_eq!((arena.read(&h, 16), arena.read(&c, 16)), (vec![1.0; 16], vec![1.0; 16]));
}

#[test]
fn buffers_of_a_step_that_do_not_fit_are_named() {
    let Some(gpu) = gpu() else { return };
    let (device, _) = gpu.wgpu().unwrap();
    let cell = lstm(&gpu);
    let make = |size: u64, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let all = Use::STORAGE | Use::COPY_SRC | Use::COPY_DST;
    let (input, h, c) = (make(60, all), make(108, all), make(108, all));
    let (small, pool, storage) = (make(56, all), make(4096, all), make(4096, Use::STORAGE));
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut rejected = |buffers: LstmCellBuffers<'_>| {
        let error = cell.encode(&mut encoder, 3, &buffers).unwrap_err();
        assert!(matches!(error, Error::Buffer { .. }), "{error}");
        error.to_string()
    };
    assert_eq!(
        rejected(LstmCellBuffers::new(&small, &h, &c)),
        "buffer input: expected at least 60 bytes, got 56 bytes"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, &small, &c)),
        "buffer h_n: expected at least 108 bytes, got 56 bytes"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, &h, &small)),
        "buffer c_n: expected at least 108 bytes, got 56 bytes"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, pool.slice(..104), &c)),
        "buffer h_n: expected at least 108 bytes, got 104 bytes"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, &h, &c).with_initial(&h, &small)),
        "buffer c_0: expected at least 108 bytes, got 56 bytes"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, &storage, &c)),
        "buffer h_n: expected usages BufferUsages(COPY_DST | STORAGE), got BufferUsages(STORAGE)"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, &h, &c).with_initial(&storage, &c)),
        "buffer h_0: expected usages BufferUsages(COPY_SRC), got BufferUsages(STORAGE)"
    );
    let alignment = u64::from(device.limits().min_storage_buffer_offset_alignment);
    assert_eq!(
        rejected(LstmCellBuffers::new(pool.slice(alignment + 4..), &h, &c)),
        format!("buffer input: expected an offset that is a multiple of {alignment}, got {}", alignment + 4)
    );
    // Overlaps, of any two arrays of which one is written.
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, &h, &h)),
        "buffer c_n: expected a range apart from h_n's, got bytes 0..108 and bytes 0..108 of one buffer"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(pool.slice(512..), pool.slice(512..), &c)),
        "buffer h_n: expected a range apart from input's, got bytes 512..620 and bytes 512..572 of one buffer"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, pool.slice(..), &c).with_initial(pool.slice(64..), &c)),
        "buffer h_0: expected a range apart from h_n's, got bytes 64..172 and bytes 0..108 of one buffer"
    );
    assert_eq!(
        rejected(LstmCellBuffers::new(&input, &h, &c).with_initial(&c, &h)),
        "buffer h_0: expected a range apart from c_n's, got bytes 0..108 and bytes 0..108 of one buffer"
    );

    // The rejected recordings left nothing in the encoder; arrays that are only read may be one.
    cell.encode(&mut encoder, 3, &LstmCellBuffers::new(&pool, &h, &c).with_initial(&pool, &pool)).unwrap();
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    encoder.finish();
    assert!(pollster::block_on(scope.pop()).is_none());

    let on_cpu = LstmCell::random(LstmCellConfig::new(I, H), 1).unwrap().to(&Device::cpu()).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    let expected = "recording into a command encoder on the CPU is not supported: place the model on a GPU device";
    assert_eq!(
        on_cpu.encode(&mut encoder, 3, &LstmCellBuffers::new(&input, &h, &c)).unwrap_err().to_string(),
        expected
    );
    assert_eq!(on_cpu.buffer_sizes(3).unwrap_err().to_string(), expected);
}
