//! Limits of a device: one that is too low is named, and what fits within low limits gives the same bits.

use wgpu_rnn::{Adam, Device, Gru, GruConfig, Lstm, LstmConfig, Optimizer, Precision, Strategy, wgpu};

use crate::support::{bits, gpu, message, own_device, slice, under_test, uniform, zeros};

#[test]
fn limits_of_a_device_are_named() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|limits| {
        limits.max_storage_buffer_binding_size = 4096;
        limits.max_compute_workgroups_per_dimension = 100;
    });
    let small = Device::from_wgpu(device, queue);

    let wide = Lstm::random(LstmConfig::new(3, 64), 0).unwrap();
    assert_eq!(
        message(wide.to(&small)),
        "w_hh of layer 0 needs 65536 of max_storage_buffer_binding_size, the device has 4096"
    );
    let model = Lstm::random(LstmConfig::new(3, 8), 0).unwrap().to(&small).unwrap();
    let forward = |t: usize, b: usize| message(model.forward(&uniform(&[t, b, 3], 0), None));
    assert_eq!(
        forward(1, 33),
        "gx of one time step needs 4224 of max_storage_buffer_binding_size, the device has 4096"
    );
    assert_eq!(forward(400, 1), "the input needs 4800 of max_storage_buffer_binding_size, the device has 4096");
    assert_eq!(forward(200, 1), "the output needs 6400 of max_storage_buffer_binding_size, the device has 4096");

    // A shape that fits runs, in as many chunks as the small binding requires, and gives the same bits as in one chunk.
    let x = uniform(&[120, 1, 3], 1);
    assert!(
        model.plan(120, 1).unwrap().to_string().contains("120 steps in 4 chunks"),
        "{}",
        model.plan(120, 1).unwrap()
    );
    // The same features and strategy, so that the kernels are the same.
    let (device, queue) = own_device(|_| {});
    let large = Device::from_wgpu(device, queue);
    let whole = Lstm::random(LstmConfig::new(3, 8), 0).unwrap().to(&large).unwrap();
    for model in [&model, &whole] {
        model.set_strategy(Strategy::Step).unwrap();
    }
    assert!(whole.plan(120, 1).unwrap().to_string().contains("120 steps in 1 chunk,"));
    assert_eq!(bits(&model.forward(&x, None).unwrap().0), bits(&whole.forward(&x, None).unwrap().0));

    // Chunks, both directions and batch-first layout: every stride differs.
    let config = LstmConfig::new(2, 3).with_num_layers(3).with_bidirectional(true).with_batch_first(true);
    let lstm = Lstm::random(config, 2).unwrap();
    let x = uniform(&[3, 40, 2], 3);
    let (in_chunks, whole) = (lstm.to(&small).unwrap(), lstm.to(&large).unwrap());
    for model in [&in_chunks, &whole] {
        model.set_strategy(Strategy::Step).unwrap();
    }
    assert!(
        in_chunks.plan(40, 3).unwrap().as_gpu().unwrap().dispatch_count()
            > whole.plan(40, 3).unwrap().as_gpu().unwrap().dispatch_count()
    );
    let (a, b) = (in_chunks.forward(&x, None).unwrap(), whole.forward(&x, None).unwrap());
    assert_eq!((bits(&a.0), bits(&a.1.h), bits(&a.1.c)), (bits(&b.0), bits(&b.1.h), bits(&b.1.c)));
}

#[test]
fn a_small_workgroup_is_named() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|limits| limits.max_compute_invocations_per_workgroup = 32);
    let model = Lstm::random(LstmConfig::new(1, 1), 0).unwrap().to(&Device::from_wgpu(device, queue)).unwrap();
    assert_eq!(
        message(model.forward(&uniform(&[1, 1, 1], 0), None)),
        "the input product needs 64 of max_compute_invocations_per_workgroup, the device has 32"
    );
}

/// Lowers one limit at a time to less than the kernels need.
#[test]
fn every_limit_of_a_device_is_named() {
    if gpu().is_none() {
        return;
    }
    type Lower = fn(&mut wgpu::Limits);
    let cases: [(Lower, &str); 10] = [
        (|l| l.max_bind_groups = 1, "the input product needs 2 of max_bind_groups, the device has 1"),
        (
            |l| l.max_bindings_per_bind_group = 4,
            "the step kernel needs 7 of max_bindings_per_bind_group, the device has 4",
        ),
        (
            |l| l.max_storage_buffers_per_shader_stage = 4,
            "the input product needs 5 of max_storage_buffers_per_shader_stage, the device has 4",
        ),
        (
            |l| l.max_uniform_buffers_per_shader_stage = 1,
            "the step kernel needs 2 of max_uniform_buffers_per_shader_stage, the device has 1",
        ),
        (
            |l| l.max_dynamic_uniform_buffers_per_pipeline_layout = 1,
            "the step kernel needs 2 of max_dynamic_uniform_buffers_per_pipeline_layout, the device has 1",
        ),
        (
            |l| l.max_uniform_buffer_binding_size = 16,
            "the input product needs 112 of max_uniform_buffer_binding_size, the device has 16",
        ),
        (
            |l| l.max_compute_workgroup_size_x = 4,
            "the input product needs 8 of max_compute_workgroup_size_x, the device has 4",
        ),
        (
            |l| l.max_compute_workgroups_per_dimension = 1,
            "the input product needs 2 of max_compute_workgroups_per_dimension, the device has 1",
        ),
        (|l| l.max_buffer_size = 8, "w_ih of layer 0 needs 256 of max_buffer_size, the device has 8"),
        (
            |l| l.max_compute_workgroup_storage_size = 8000,
            "the input product needs 8192 of max_compute_workgroup_storage_size, the device has 8000",
        ),
    ];
    for (lower, expected) in cases {
        let (device, queue) = own_device(lower);
        let lstm = Lstm::random(LstmConfig::new(1, 1).with_bidirectional(true), 0).unwrap();
        let placed = lstm.to(&Device::from_wgpu(device, queue));
        let forward = placed.and_then(|placed| placed.forward(&zeros(&[1, 1]), None));
        assert_eq!(message(forward), expected);
    }
}

/// A device's largest buffer may be smaller than its largest binding. A shape that a plan accepts runs, and a stream's
/// spare capacity is no reason to fail.
#[test]
fn buffers_that_are_smaller_than_bindings_are_respected() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = own_device(|limits| limits.max_buffer_size = 1 << 20);
    let small = under_test(Device::from_wgpu(device, queue));
    let lstm = Lstm::random(LstmConfig::new(1, 64), 1).unwrap();
    let x = uniform(&[100, 16, 1], 2);
    let expected = lstm.to(&gpu).unwrap().forward(&x, None).unwrap().0;
    let placed = lstm.to(&small).unwrap();
    placed.plan(100, 16).unwrap();
    assert_eq!(bits(&placed.forward(&x, None).unwrap().0), bits(&expected));
    // A push of 65 steps reserves room for 128, whose arrays would be too large.
    let mut streams = placed.streams(16).run().unwrap();
    let pieces = [(0..65), (65..100)].map(|steps| streams.push(&slice(&x, 0, steps)).unwrap());
    assert_eq!(bits(&pieces[0]), bits(&slice(&expected, 0, 0..65)));
    assert_eq!(bits(&pieces[1]), bits(&slice(&expected, 0, 65..100)));

    let stack = Lstm::random(LstmConfig::new(3, 65).with_num_layers(3), 1).unwrap();
    let x = uniform(&[7, 65, 3], 2);
    let precision = |device: &Device| stack.place(device).precision(Precision::F16).run().unwrap();
    let expected = precision(&gpu).forward(&x, None).unwrap().0;
    assert_eq!(bits(&precision(&small).forward(&x, None).unwrap().0), bits(&expected));
}

/// Weights, gradients and moments that a device holds, but not in one buffer, come back in pieces.
#[test]
fn what_exceeds_one_buffer_is_read_in_pieces() {
    if gpu().is_none() {
        return;
    }
    // A GPU computes the gradients of small matrices in 16 parts, which have to fit together.
    let most = 16 * 32 * (32 + 1) * 3 * 4;
    let (device, queue) = own_device(|limits| {
        limits.max_storage_buffer_binding_size = most;
        limits.max_buffer_size = most;
    });
    let small = under_test(Device::from_wgpu(device, queue));
    let layer = Gru::random(GruConfig::new(32, 32).with_num_layers(10), 1).unwrap();
    let x = uniform(&[2, 1, 32], 2);
    let train = |device: &Device| {
        let mut placed = layer.to(device).unwrap();
        let pass = placed.forward_train(&x, None).unwrap();
        let dy = pass.output().clone();
        let gradients = pass.backward(&dy, None).unwrap();
        let mut optimizer = Optimizer::new(Adam::new()).unwrap();
        let mut step = optimizer.step(0.1);
        step.layer("", &mut placed, gradients.weights());
        step.run().unwrap();
        let gradients: Vec<_> = gradients.weights().named().unwrap().map(|(_, tensor)| bits(tensor)).collect();
        (placed.to_layer().unwrap(), gradients, optimizer.state().unwrap())
    };
    let (weights, gradients, state) = train(&gpu().unwrap());
    let bytes: usize = weights.named().map(|(_, tensor)| tensor.data().len() * 4).sum();
    assert!(bytes as u64 > most);
    let (got_weights, got_gradients, got_state) = train(&small);
    assert_eq!(got_gradients, gradients);
    assert_eq!(got_weights, weights);
    assert_eq!(got_state, state);
}
