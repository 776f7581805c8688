//! Checks of every composed shader without a GPU: it is valid, and it agrees with the Rust side.

use std::collections::BTreeSet;

use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::*;
use crate::form::Form;
use crate::gpu::optim::Clip;
use crate::plan::backward::kernel::BackwardKernel;
use crate::plan::backward::{shipped, weights};
use crate::plan::few_rows::{FewRows, STAGED};
use crate::plan::input_product::InputProductTile;
use crate::plan::kernel::{Access, Parameter, PipelineKey, Role};
use crate::plan::optim::params::SlotParams;
use crate::plan::params::{ChunkParams, MAX_CHUNKS, SharedParams, StepParams, block_bytes};
use crate::plan::sequence::SequenceTile;
use crate::plan::step::StepTile;
use crate::plan::strategy::{Choice, Recurrence};
use crate::plan::{input_product, optim, projection, sequence, step};

/// The capabilities of WebGPU without any feature: unpacking f16 is core.
const CAPABILITIES: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

fn validator() -> Validator {
    Validator::new(ValidationFlags::all(), CAPABILITIES)
}

/// Returns every kernel with every cell and product of a step that it runs.
fn sources(precision: Precision, wavefront: bool) -> impl Iterator<Item = Sources> {
    let backward = BackwardKernel::ALL.into_iter().map(Kernel::Backward);
    // The backward has f32 only, and one layer at a time.
    let backward = backward.filter(move |_| precision == Precision::F32 && !wavefront);
    let optim = OptimKernel::ALL.into_iter().map(Kernel::Optim);
    let optim = optim.filter(move |_| precision == Precision::F32 && !wavefront);
    let all = Kernel::FORWARD.into_iter().chain(backward).chain(optim);
    all.flat_map(|kernel| CellKind::ALL.map(|cell| (kernel, cell))).flat_map(move |(kernel, cell)| {
        let products = match kernel.role() {
            Role::InputProduct | Role::Projection => 1,
            // They do not depend on the cell.
            Role::Optim(_) => usize::from(cell == CellKind::Lstm),
            Role::Backward(kernel) if kernel.is_of(cell) => kernel.products(cell),
            Role::Backward(_) => 0,
            // A sequence has no dispatch for a second product.
            Role::Recurrence if kernel == Kernel::Sequence && cell.products().len() > 1 => 0,
            Role::Recurrence => cell.products().len(),
        };
        let forms = if kernel.role() == Role::Recurrence { &[false, true][..] } else { &[false] };
        (0..products).flat_map(move |product| {
            forms.iter().map(move |&general| Sources { kernel, cell, product, precision, wavefront, general })
        })
    })
}

fn parsed_with(precision: Precision, wavefront: bool) -> impl Iterator<Item = (Sources, naga::Module)> {
    sources(precision, wavefront).map(move |sources| {
        let source = sources.compose();
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&source)));
        (sources, module)
    })
}

fn parsed() -> impl Iterator<Item = (Sources, naga::Module)> {
    parsed_with(Precision::F32, false).chain(parsed_with(Precision::F16, false))
}

#[test]
fn every_combination_is_valid() {
    for (sources, module) in parsed().chain(parsed_with(Precision::F32, true)) {
        validator().validate(&module).unwrap_or_else(|e| panic!("{sources:?}: {e:?}"));
        assert!(module.entry_points.iter().any(|e| e.name == entry_point(sources.kernel)));
    }
}

#[test]
fn bindings_are_those_of_the_rust_side() {
    for (sources, module) in parsed().chain(parsed_with(Precision::F32, true)) {
        let info = validator().validate(&module).unwrap();
        let at = module.entry_points.iter().position(|e| e.name == entry_point(sources.kernel)).unwrap();
        let entry = info.get_entry_point(at);
        let (mut storage, mut params) = (Vec::new(), Vec::new());
        for (handle, global) in module.global_variables.iter() {
            let Some(binding) = global.binding.filter(|_| !entry[handle].is_empty()) else { continue };
            let at = binding.binding as usize;
            match (binding.group, global.space) {
                (0, naga::AddressSpace::Storage { access }) => {
                    let write = access.contains(naga::StorageAccess::STORE);
                    storage.push((at, if write { Access::ReadWrite } else { Access::Read }));
                }
                (1, naga::AddressSpace::Storage { access }) => {
                    assert!(!access.contains(naga::StorageAccess::STORE));
                    params.push((at, Parameter::Call));
                }
                (1, naga::AddressSpace::Uniform) => {
                    let bytes = module.types[global.ty].inner.size(module.to_ctx()) as usize;
                    params.push((at, Parameter::Block(bytes)));
                }
                other => panic!("{other:?}"),
            }
        }
        storage.sort_by_key(|&(binding, _)| binding);
        params.sort_by_key(|&(binding, _)| binding);
        // A layout may have buffers that one kernel of the role does not use.
        let expected: Vec<_> = sources.storage_access().into_iter().enumerate().collect();
        assert!(storage.iter().all(|binding| expected.contains(binding)), "{sources:?}: {storage:?}");
        let of_role = |binding: &usize| storage.iter().any(|(at, _)| at == binding);
        let unused: Vec<usize> = (0..expected.len()).filter(|binding| !of_role(binding)).collect();
        let hands_on = sources.cell.products().len() > 1;
        assert!(unused.is_empty() || hands_on, "{sources:?}: {unused:?} are bound but not used");
        let mut expected: Vec<_> = sources.parameters().enumerate().collect();
        // Some kernels of the backward need nothing of the call, or of the chunk.
        expected.retain(|parameter| params.contains(parameter) || !matches!(sources.kernel, Kernel::Backward(_)));
        assert_eq!(params, expected, "{sources:?}");
        let blocks = params.iter().filter(|(_, parameter)| matches!(parameter, Parameter::Block(_))).count();
        let reads_none = sources.kernel == Kernel::Backward(BackwardKernel::SumParts);
        assert_eq!(blocks, if reads_none { 0 } else { sources.block_count() });
    }
}

/// Compares names, offsets and sizes of the parameter structs.
#[test]
fn parameter_blocks_are_laid_out_as_in_rust() {
    // Returns the fields of a Rust struct of u32, in order, parsed from its Debug form.
    fn fields(debug: String) -> Vec<String> {
        let inside = debug.split_once('{').unwrap().1.trim_end_matches('}');
        inside.split(',').map(|field| field.split(':').next().unwrap().trim().to_owned()).collect()
    }
    let mut shared = fields(format!("{:?}", <SharedParams as bytemuck::Zeroable>::zeroed()));
    shared.push("chunks".to_owned());
    let rust = [
        ("Params", block_bytes(1), shared),
        ("Chunk", size_of::<ChunkParams>(), fields(format!("{:?}", <ChunkParams as bytemuck::Zeroable>::zeroed()))),
        ("Step", size_of::<StepParams>(), fields(format!("{:?}", <StepParams as bytemuck::Zeroable>::zeroed()))),
        ("Slot", size_of::<SlotParams>(), fields(format!("{:?}", SlotParams::default()))),
        ("Clip", size_of::<Clip>(), fields(format!("{:?}", <Clip as bytemuck::Zeroable>::zeroed()))),
    ];
    for (Sources { kernel, .. }, module) in parsed() {
        for (name, size, fields) in &rust {
            let reads = match (kernel, *name) {
                (Kernel::Optim(_), "Slot") => true,
                (Kernel::Optim(kernel), "Clip") => !matches!(kernel, OptimKernel::SumSquares | OptimKernel::Add),
                (Kernel::Optim(_), _) | (Kernel::Backward(BackwardKernel::SumParts), _) | (_, "Slot" | "Clip") => false,
                (_, "Step") => kernel.is_of_one_step(),
                _ => true,
            };
            if !reads {
                continue;
            }
            let Some((_, ty)) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)) else {
                panic!("no struct {name} in {kernel:?}")
            };
            let naga::TypeInner::Struct { members, span } = &ty.inner else { panic!("{name} is not a struct") };
            let shader: Vec<_> = members.iter().map(|m| (m.name.clone().unwrap(), m.offset as usize)).collect();
            let expected: Vec<_> = fields.iter().cloned().zip((0..).map(|i| i * 4)).collect();
            assert_eq!((&shader, *span as usize), (&expected, *size), "{name}");
        }
    }
}

/// Returns the value of a module-level `const`.
fn constant(module: &naga::Module, name: &str) -> usize {
    let (_, constant) = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name)).unwrap();
    match module.global_expressions[constant.init] {
        naga::Expression::Literal(naga::Literal::U32(value)) => value as usize,
        ref other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn tile_constants_are_those_of_the_plan() {
    for (Sources { kernel, .. }, module) in parsed() {
        match kernel {
            Kernel::InputProduct => {
                let tile = InputProductTile::Tiled;
                assert_eq!(constant(&module, "TILE_UNITS"), tile.units());
                assert_eq!(constant(&module, "TILE_ROWS"), tile.rows());
                assert_eq!(constant(&module, "TILE_K"), input_product::TILE_K);
                assert_eq!(module.entry_points[0].workgroup_size, tile.workgroup());
            }
            Kernel::StepFewRows | Kernel::InputProductFewRows => assert_eq!(constant(&module, "STAGED"), STAGED),
            Kernel::StepManyRows => {
                assert_eq!(constant(&module, "STAGED"), STAGED);
                assert_eq!(constant(&module, "SPLIT"), step::MANY_ROWS_SPLIT as usize);
            }
            Kernel::StepOneRow => {}
            Kernel::Sequence => assert_eq!(constant(&module, "ROWS_OF_LINE"), sequence::ROWS_OF_LINE),
            Kernel::Projection => {
                assert_eq!(constant(&module, "TILE_VALUES"), projection::TILE_VALUES);
                assert_eq!(constant(&module, "TILE_ROWS"), projection::TILE_ROWS);
                assert_eq!(module.entry_points[0].workgroup_size, projection::WORKGROUP);
            }
            Kernel::Backward(BackwardKernel::Projection) => {
                // The grid is that of the forward, over units.
                assert_eq!(constant(&module, "TILE_UNITS"), projection::TILE_VALUES);
                assert_eq!(constant(&module, "TILE_ROWS"), projection::TILE_ROWS);
                assert_eq!(module.entry_points[0].workgroup_size, projection::WORKGROUP);
            }
            Kernel::Backward(_) if entry_point(kernel) == "weight_gradient" => {
                assert_eq!(constant(&module, "TILE_UNITS"), weights::TILE_UNITS);
                assert_eq!(constant(&module, "TILE_COLUMNS"), weights::TILE_COLUMNS);
                assert_eq!(constant(&module, "TILE_ROWS"), weights::TILE_ROWS);
                assert_eq!(module.entry_points[0].workgroup_size, weights::WORKGROUP);
            }
            Kernel::Backward(BackwardKernel::SumParts) => {
                assert_eq!(module.entry_points[0].workgroup_size, [weights::SUM_INVOCATIONS, 1, 1]);
            }
            Kernel::Backward(_) => {}
            Kernel::Optim(_) => {
                assert_eq!(constant(&module, "INVOCATIONS") as u64, optim::INVOCATIONS);
                assert_eq!(module.entry_points[0].workgroup_size, [optim::INVOCATIONS as u32, 1, 1]);
            }
        }
    }
}

/// Compares the packing of weights.
#[test]
fn blocks_of_units_are_those_of_the_host() {
    let no_blocks = [
        Kernel::Projection,
        Kernel::Backward(BackwardKernel::Projection),
        Kernel::Backward(BackwardKernel::ProjectionWeights),
        Kernel::Backward(BackwardKernel::SumParts),
    ];
    let has_blocks = |kernel| !no_blocks.contains(&kernel) && !matches!(kernel, Kernel::Optim(_));
    for (_, module) in parsed().filter(|(sources, _)| has_blocks(sources.kernel)) {
        assert_eq!(constant(&module, "BLOCK"), crate::plan::WEIGHT_BLOCK);
    }
}

#[test]
fn a_wave_has_the_chunks_of_the_plan() {
    for (_, module) in parsed_with(Precision::F32, true) {
        assert_eq!(constant(&module, "CHUNKS"), MAX_CHUNKS);
    }
}

#[test]
fn override_constants_are_those_of_the_rust_side() {
    let few_rows = FewRows { units: 16, row_tiles: 4, split: 4 };
    let step = |tile| (InputProductTile::Tiled, Recurrence::Steps(tile));
    let one_row = StepTile::OneRow { units: 8, split: 32 };
    for (Sources { kernel, cell, general, .. }, module) in parsed() {
        let (input_product, recurrence) = match kernel {
            Kernel::InputProduct | Kernel::Projection | Kernel::StepOneRow => step(one_row),
            Kernel::InputProductFewRows => (InputProductTile::FewRows(few_rows), Recurrence::Steps(one_row)),
            Kernel::StepFewRows => step(StepTile::FewRows(few_rows)),
            Kernel::StepManyRows => step(StepTile::ManyRows { units: 8, row_tiles: 4 }),
            Kernel::Sequence => {
                let tile = SequenceTile { units: 16, split: 1, held: true };
                (InputProductTile::Tiled, Recurrence::Sequence(tile))
            }
            Kernel::Backward(_) | Kernel::Optim(_) => continue,
        };
        let choice = Choice { input_product, recurrence, why: "" };
        let mut constants = if general { Form::default().constants(cell) } else { Vec::new() };
        constants.extend(choice.constants(kernel.role(), false, true));
        let declared: Vec<_> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        assert_eq!(declared, constants.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{kernel:?}");
    }
}

#[test]
fn override_constants_of_the_backward_are_those_of_the_rust_side() {
    for PipelineKey { sources, constants } in shipped::shipped() {
        let module = naga::front::wgsl::parse_str(&sources.compose()).unwrap();
        let declared: BTreeSet<_> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        assert_eq!(declared, constants.iter().map(|(name, _)| *name).collect(), "{:?}", sources.kernel);
    }
}

/// The host packs G floats per unit. WGSL would lay out an array of vec3 with a stride of four floats.
#[test]
fn packed_gates_are_as_wide_as_the_host_packs_them() {
    for precision in [Precision::F32, Precision::F16] {
        parsed_with(precision, false).for_each(|(sources, module)| check_packing(sources, &module));
    }
}

const PROJECTION_WEIGHTS: Kernel = Kernel::Backward(BackwardKernel::ProjectionWeights);

fn check_packing(sources: Sources, module: &naga::Module) {
    let Sources { kernel, cell, product, precision, .. } = sources;
    // The gates of the current product.
    let gates = match kernel {
        Kernel::Backward(BackwardKernel::Reset) => cell.products()[1].len(),
        Kernel::Backward(BackwardKernel::InputWeights | BackwardKernel::InputGradient) => cell.gates(),
        Kernel::Backward(_) => cell.products()[product].len(),
        _ if kernel.role() == Role::Recurrence => cell.products()[product].len(),
        _ => cell.gates(),
    };
    let mut seen = 0;
    for (_, global) in module.global_variables.iter() {
        let name = global.name.as_deref().unwrap_or_default();
        let naga::TypeInner::Array { stride, .. } = module.types[global.ty].inner else { continue };
        if ["b_ih", "b_hh", "gx"].contains(&name) {
            let gates = if name == "gx" { cell.gates() } else { gates };
            assert_eq!(stride as usize, gates * size_of::<f32>(), "{name} of {kernel:?} {cell:?}");
            seen += 1;
        }
        if ["w_ih", "w_hh"].contains(&name) {
            let words = crate::plan::matrix::words(gates, precision);
            assert_eq!(stride as usize, words * size_of::<u32>(), "{name} of {kernel:?} {cell:?}");
            seen += 1;
        }
        if ["w_tile", "partial", "deltas"].contains(&name) && sources.kernel != PROJECTION_WEIGHTS {
            assert_eq!(stride as usize, gates.next_power_of_two() * size_of::<f32>(), "{name} of {kernel:?} {cell:?}");
            seen += 1;
        }
    }
    let expected = match kernel.role() {
        Role::InputProduct | Role::Recurrence | Role::Backward(BackwardKernel::Recompute) => 4,
        Role::Projection
        | Role::Optim(_)
        | Role::Backward(BackwardKernel::Projection | BackwardKernel::ProjectionWeights | BackwardKernel::SumParts) => {
            0
        }
        // The recurrent weights, the input weights, or the rows in workgroup memory.
        Role::Backward(_) => 1,
    };
    assert_eq!(seen, expected, "{kernel:?} {cell:?}");
}

/// Returns the code of a file as words and single characters, without comments.
fn tokens(text: &str) -> Vec<&str> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    for mut rest in code {
        while let Some(first) = rest.chars().next() {
            let length =
                if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
            let (token, later) = rest.split_at(length);
            if !token.trim().is_empty() {
                tokens.push(token);
            }
            rest = later;
        }
    }
    tokens
}

/// Returns the names that a file declares at module scope, and the names from other files that it uses. A name that the
/// file gives to a parameter, field or variable of its own is not counted as another file's.
fn names(text: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let tokens = tokens(text);
    let (mut depth, mut declared, mut local, mut used) = (0, BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    // `var<storage, read> x`: the name follows the angle brackets.
    let mut awaited = false;
    for (at, &token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        let after = tokens.get(at + 1).copied().unwrap_or_default();
        match token {
            "{" | "(" => depth += 1,
            "}" | ")" => depth -= 1,
            "var" | "let" | "const" | "override" | "fn" | "struct" | "alias" => awaited = true,
            _ if !token.starts_with(|c: char| c.is_alphabetic() || c == '_') => {}
            _ if awaited && !["<", ","].contains(&before) && before != "read" => {
                awaited = false;
                if depth == 0 {
                    declared.insert(token)
                } else {
                    local.insert(token)
                };
            }
            _ if awaited => {}
            _ if after == ":" => {
                local.insert(token);
            }
            _ if before != "." => {
                used.insert(token);
            }
            _ => {}
        }
    }
    let used = used.into_iter().filter(|name| !declared.contains(name) && !local.contains(name)).collect();
    (declared, used)
}

/// Returns the names that the head of a file lists as needed, each with the file that it comes from.
fn needs(text: &str) -> Vec<(String, String)> {
    let head: String = text.lines().map_while(|line| line.strip_prefix("//")).collect::<Vec<_>>().join("");
    let Some((_, needs)) = head.split_once("Needs: ") else { return Vec::new() };
    let of_entry = |entry: &str| {
        let (names, from) = entry.split_once(" from ").unwrap_or_else(|| panic!("{entry}: no `from`"));
        let from = from.trim_end_matches('.').to_owned();
        names.split('`').skip(1).step_by(2).map(|name| (name.to_owned(), from.clone())).collect::<Vec<_>>()
    };
    needs.split(';').flat_map(of_entry).collect()
}

/// Returns true if `file` is one that `from` stands for. A folder stands for any of its files. Each role of the forward
/// has one file of bindings, or two with the operand of a step; each kernel of the backward declares its own, apart
/// from those that only some cells need.
fn is_from(file: &str, from: &str) -> bool {
    const BINDINGS: [&str; 3] = ["input_product/bindings.wgsl", "step/recurrence.wgsl", "step/projection.wgsl"];
    from.split(" or ").any(|from| match from {
        "the bindings of the role" => {
            let backward = file.starts_with("backward/") || file.ends_with("_backward.wgsl");
            BINDINGS.contains(&file) || file.starts_with("operand/") || backward
        }
        _ => file == from || (from.ends_with('/') && file.starts_with(from)),
    })
}

#[test]
fn the_head_of_a_file_lists_the_names_that_it_takes_from_others() {
    for (precision, wavefront) in [(Precision::F32, false), (Precision::F16, true)] {
        for sources in sources(precision, wavefront) {
            let files = sources.files();
            let files: Vec<_> = files.map(|file| (file, names(file.text))).collect();
            for (file, (_, used)) in &files {
                let others = || files.iter().filter(|(other, _)| other.name != file.name);
                let declaring = |name: &str| others().find(|(_, (declared, _))| declared.contains(name));
                let taken: BTreeSet<_> = used.iter().copied().filter(|name| declaring(name).is_some()).collect();
                let needs = needs(file.text);
                let said: BTreeSet<_> = needs.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(said, taken, "{} in {sources:?}", file.name);
                for (name, from) in &needs {
                    let declaring = declaring(name).unwrap().0.name;
                    assert!(is_from(declaring, from), "{}: {name} is from {declaring}, not {from}", file.name);
                }
            }
        }
    }
}
