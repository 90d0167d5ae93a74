//! The network as an ONNX model, opset 17.
//!
//! The network is trained on images of 60 steps, but the score looks at the newest three columns only, and these depend
//! on 26: the input has as many, the output three, and what lies to the left of them is never computed, which leaves
//! a fifth of the multiplications.
//!
//! Only the messages and fields that are used are declared; numbers are those of `onnx.proto` (ONNX 1.12,
//! IR version 8). Layers become `Conv`, `Relu` and, for doubling, `Resize` (nearest, asymmetric, floor); columns are cut off by `Slice`.

use prost::Message;
use quoll_detect::metadata::Metadata;
use quoll_detect::runtime::{INPUT, NEWEST, OUTPUT};
use quoll_detect::window::{SEEN, STEPS};

use crate::network::Network;

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: i32 = 1;
const INT64: i32 = 7;
/// `AttributeProto.AttributeType`.
const TYPE_STRING: i32 = 3;
const TYPE_INTS: i32 = 7;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StringEntry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "4")]
    s: Vec<u8>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShape>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

fn tensor(name: String, dims: &[usize], values: &[f32]) -> Tensor {
    Tensor {
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: FLOAT,
        name,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// One number, as `Slice` takes it.
fn number(name: &str, value: i64) -> Tensor {
    let raw_data = value.to_le_bytes().to_vec();
    Tensor { dims: vec![1], data_type: INT64, name: name.to_owned(), raw_data }
}

fn text(name: &str, value: &str) -> Attribute {
    Attribute { name: name.to_owned(), s: value.as_bytes().to_vec(), ints: Vec::new(), r#type: TYPE_STRING }
}

fn numbers(name: &str, values: &[usize]) -> Attribute {
    let ints = values.iter().map(|v| *v as i64).collect();
    Attribute { name: name.to_owned(), s: Vec::new(), ints, r#type: TYPE_INTS }
}

fn image(name: &str, rows: usize, columns: usize) -> ValueInfo {
    let fixed = |n: usize| Dimension { dim_value: Some(n as i64), dim_param: None };
    let windows = Dimension { dim_value: None, dim_param: Some("windows".to_owned()) };
    let shape = TensorShape { dim: vec![windows, fixed(rows), fixed(columns)] };
    ValueInfo {
        name: name.to_owned(),
        r#type: Some(Type { tensor_type: Some(TensorType { elem_type: FLOAT, shape: Some(shape) }) }),
    }
}

/// Adds a node of one output and returns the output's name.
fn push(graph: &mut Graph, op: &str, input: Vec<String>, output: String, attribute: Vec<Attribute>) -> String {
    let node = Node { input, output: vec![output.clone()], name: output.clone(), op_type: op.to_owned(), attribute };
    graph.node.push(node);
    output
}

/// The bytes of `model.onnx`.
#[must_use]
pub fn encode(network: &Network, metadata: &Metadata) -> Vec<u8> {
    encode_cut(network, metadata, SEEN, NEWEST)
}

/// The same for whole images, as versions before this one wrote it.
#[must_use]
pub fn encode_whole(network: &Network, metadata: &Metadata) -> Vec<u8> {
    encode_cut(network, metadata, STEPS, STEPS)
}

/// From the newest `seen` columns of an image to the newest `columns` of its reconstruction.
fn encode_cut(network: &Network, metadata: &Metadata, seen: usize, columns: usize) -> Vec<u8> {
    let rows = network.layers.first().map_or(0, |l| l.shape.inputs);
    let mut graph = Graph {
        name: "quoll-autoencoder".to_owned(),
        input: vec![image(INPUT, rows, seen)],
        output: vec![image(OUTPUT, rows, columns)],
        initializer: vec![
            tensor("twice".to_owned(), &[3], &[1.0, 1.0, 2.0]),
            number("newest", -(columns as i64)),
            number("end", i64::MAX),
            number("time", 2),
        ],
        node: Vec::new(),
    };
    // The column of the whole activation that the first one of the cut activation is.
    let mut first = STEPS - seen;
    let mut current = INPUT.to_owned();
    for (i, layer) in network.layers.iter().enumerate() {
        let shape = layer.shape;
        if shape.doubled {
            let attributes = vec![
                text("mode", "nearest"),
                text("coordinate_transformation_mode", "asymmetric"),
                text("nearest_mode", "floor"),
            ];
            let inputs = vec![current, String::new(), "twice".to_owned()];
            current = push(&mut graph, "Resize", inputs, format!("doubled{i}"), attributes);
            first *= 2;
        }
        let (weight, bias) = (format!("weight{i}"), format!("bias{i}"));
        graph.initializer.push(tensor(weight.clone(), &[shape.outputs, shape.inputs, shape.kernel], &layer.weight));
        graph.initializer.push(tensor(bias.clone(), &[shape.outputs], &layer.bias));
        // Zeros belong at the ends of the whole image only. Where it is cut, as many as keep the stride in phase: the
        // one column that sees them is one that nothing needed depends on.
        let end = shape.kernel / 2;
        let begin = if first == 0 { end } else { (first + end) % shape.stride };
        first = (first + end - begin) / shape.stride;
        let attributes = vec![
            numbers("kernel_shape", &[shape.kernel]),
            numbers("strides", &[shape.stride]),
            numbers("pads", &[begin, end]),
        ];
        current = push(&mut graph, "Conv", vec![current, weight, bias], format!("conv{i}"), attributes);
        if shape.rectified {
            current = push(&mut graph, "Relu", vec![current], format!("relu{i}"), Vec::new());
        }
    }
    let inputs = [&*current, "newest", "end", "time"].map(str::to_owned).to_vec();
    push(&mut graph, "Slice", inputs, OUTPUT.to_owned(), Vec::new());
    let entry = |(key, value): (&str, &str)| StringEntry { key: key.to_owned(), value: value.to_owned() };
    Model {
        ir_version: IR_VERSION,
        producer_name: "quoll-train".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: metadata.entries().into_iter().map(entry).collect(),
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::Conv;
    use crate::random::Random;

    /// The first column of an image that the newest `columns` of its reconstruction depend on.
    fn first_needed(layers: &[Conv], columns: usize) -> usize {
        let length = layers.iter().fold(STEPS, |length, layer| layer.shape.out_length(length));
        layers.iter().rev().fold(length - columns, |first, Conv { shape, .. }| {
            let first = (first * shape.stride).saturating_sub(shape.kernel / 2);
            if shape.doubled { first / 2 } else { first }
        })
    }

    #[test]
    fn an_image_has_the_columns_that_its_newest_ones_depend_on_and_no_more() {
        let network = Network::new(4, &mut Random::new(1));
        assert_eq!(STEPS - first_needed(&network.layers, NEWEST), SEEN);
        assert_eq!(first_needed(&network.layers, STEPS), 0);
    }
}
