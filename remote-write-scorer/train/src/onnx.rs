//! The network as an ONNX model, opset 17.
//!
//! Only the messages and fields that are used are declared; numbers are those of `onnx.proto` (ONNX 1.12,
//! IR version 8). Layers become `Conv`, `Relu` and, for doubling, `Resize` (nearest, asymmetric, floor).

use prost::Message;
use quoll_detect::metadata::Metadata;
use quoll_detect::runtime::{INPUT, OUTPUT};
use quoll_detect::window::STEPS;

use crate::network::Network;

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: i32 = 1;
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

fn text(name: &str, value: &str) -> Attribute {
    Attribute { name: name.to_owned(), s: value.as_bytes().to_vec(), ints: Vec::new(), r#type: TYPE_STRING }
}

fn numbers(name: &str, values: &[usize]) -> Attribute {
    let ints = values.iter().map(|v| *v as i64).collect();
    Attribute { name: name.to_owned(), s: Vec::new(), ints, r#type: TYPE_INTS }
}

fn image(name: &str, rows: usize) -> ValueInfo {
    let fixed = |n: usize| Dimension { dim_value: Some(n as i64), dim_param: None };
    let windows = Dimension { dim_value: None, dim_param: Some("windows".to_owned()) };
    let shape = TensorShape { dim: vec![windows, fixed(rows), fixed(STEPS)] };
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
    let rows = network.layers.first().map_or(0, |l| l.shape.inputs);
    let mut graph = Graph {
        name: "quoll-autoencoder".to_owned(),
        input: vec![image(INPUT, rows)],
        output: vec![image(OUTPUT, rows)],
        initializer: vec![tensor("twice".to_owned(), &[3], &[1.0, 1.0, 2.0])],
        node: Vec::new(),
    };
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
        }
        let (weight, bias) = (format!("weight{i}"), format!("bias{i}"));
        graph.initializer.push(tensor(weight.clone(), &[shape.outputs, shape.inputs, shape.kernel], &layer.weight));
        graph.initializer.push(tensor(bias.clone(), &[shape.outputs], &layer.bias));
        let last = i + 1 == network.layers.len();
        let output = if last && !shape.rectified { OUTPUT.to_owned() } else { format!("conv{i}") };
        let attributes = vec![
            numbers("kernel_shape", &[shape.kernel]),
            numbers("strides", &[shape.stride]),
            numbers("pads", &[shape.kernel / 2; 2]),
        ];
        current = push(&mut graph, "Conv", vec![current, weight, bias], output, attributes);
        if shape.rectified {
            let output = if last { OUTPUT.to_owned() } else { format!("relu{i}") };
            current = push(&mut graph, "Relu", vec![current], output, Vec::new());
        }
    }
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
