//! WebGL2 behind the painting code's [`Canvas`]: shapes on the GPU, in one call; texts on a Canvas2D above.
//!
//! Where a context cannot be had or its shaders do not compile, that is an error once, at the start. A context
//! that is lost later draws nothing more; the page then goes back to Canvas2D.

use wasm_bindgen::prelude::*;
use web_sys::{HtmlCanvasElement, WebGl2RenderingContext as Gpu, WebGlProgram, WebGlUniformLocation, js_sys};

use super::canvas2d::Painter;
use crate::batch::{Batch, INSTANCE};
use crate::camera::Point;
use crate::canvas::{Canvas, Font, Stroke};
use crate::colour::Colour;

/// Attributes: size in components, bytes from the start of an instance, whether they are bytes.
const ATTRIBUTES: [(i32, i32, bool); 5] =
    [(4, 0, false), (4, 16, false), (3, 32, false), (4, 44, true), (4, 48, false)];

/// The shapes of one canvas.
pub(super) struct Shapes {
    gpu: Gpu,
    element: HtmlCanvasElement,
    size: Option<WebGlUniformLocation>,
    ratio_of: Option<WebGlUniformLocation>,
    ratio: f64,
    batch: Batch,
    still: usize,
}

fn compile(gpu: &Gpu, kind: u32, source: &str) -> Result<web_sys::WebGlShader, JsValue> {
    let shader = gpu.create_shader(kind).ok_or("no shader")?;
    gpu.shader_source(&shader, source);
    gpu.compile_shader(&shader);
    if gpu.get_shader_parameter(&shader, Gpu::COMPILE_STATUS).is_truthy() {
        return Ok(shader);
    }
    Err(gpu.get_shader_info_log(&shader).unwrap_or_else(|| "the context is lost".to_owned()).into())
}

fn link(gpu: &Gpu) -> Result<WebGlProgram, JsValue> {
    let program = gpu.create_program().ok_or("no program")?;
    gpu.attach_shader(&program, &compile(gpu, Gpu::VERTEX_SHADER, include_str!("shape.vert"))?);
    gpu.attach_shader(&program, &compile(gpu, Gpu::FRAGMENT_SHADER, include_str!("shape.frag"))?);
    gpu.link_program(&program);
    if gpu.get_program_parameter(&program, Gpu::LINK_STATUS).is_truthy() {
        return Ok(program);
    }
    Err(gpu.get_program_info_log(&program).unwrap_or_else(|| "the context is lost".to_owned()).into())
}

impl Shapes {
    pub(super) fn of(element: HtmlCanvasElement) -> Result<Self, JsValue> {
        let wanted = js_sys::Object::new();
        // Edges are smooth by the shaders themselves; what was painted can be exported at any time.
        for (name, value) in [("antialias", false), ("depth", false), ("preserveDrawingBuffer", true)] {
            js_sys::Reflect::set(&wanted, &name.into(), &value.into())?;
        }
        let context = element.get_context_with_context_options("webgl2", &wanted)?.ok_or("no WebGL2 here")?;
        let gpu = context.dyn_into::<Gpu>().map_err(|_| "the canvas is used for something else")?;
        let program = link(&gpu)?;
        gpu.use_program(Some(&program));
        let buffer = gpu.create_buffer().ok_or("no buffer")?;
        gpu.bind_buffer(Gpu::ARRAY_BUFFER, Some(&buffer));
        for (location, (size, offset, bytes)) in (0_u32..).zip(ATTRIBUTES) {
            let kind = if bytes { Gpu::UNSIGNED_BYTE } else { Gpu::FLOAT };
            gpu.enable_vertex_attrib_array(location);
            gpu.vertex_attrib_pointer_with_i32(location, size, kind, bytes, INSTANCE as i32, offset);
            gpu.vertex_attrib_divisor(location, 1);
        }
        gpu.enable(Gpu::BLEND);
        gpu.blend_func(Gpu::ONE, Gpu::ONE_MINUS_SRC_ALPHA);
        let size = gpu.get_uniform_location(&program, "u_size");
        let ratio_of = gpu.get_uniform_location(&program, "u_ratio");
        Ok(Self { gpu, element, size, ratio_of, ratio: 1.0, batch: Batch::default(), still: 0 })
    }

    pub(super) fn resize(&mut self, width: f64, height: f64, ratio: f64) {
        self.ratio = if ratio.is_finite() { ratio.clamp(0.5, 4.0) } else { 1.0 };
        self.element.set_width((width * self.ratio).round().max(1.0) as u32);
        self.element.set_height((height * self.ratio).round().max(1.0) as u32);
    }

    /// What is painted from here on can be taken back by [`Shapes::rewind`].
    pub(super) fn keep(&mut self) {
        self.still = self.batch.len();
    }

    pub(super) fn rewind(&mut self) {
        self.batch.truncate(self.still);
    }

    /// Shows what was painted.
    pub(super) fn show(&self) {
        let (width, height) = (self.element.width() as i32, self.element.height() as i32);
        self.gpu.viewport(0, 0, width, height);
        self.gpu.clear_color(0.0, 0.0, 0.0, 0.0);
        self.gpu.clear(Gpu::COLOR_BUFFER_BIT);
        self.gpu.uniform2f(self.size.as_ref(), width as f32, height as f32);
        self.gpu.uniform1f(self.ratio_of.as_ref(), self.ratio as f32);
        self.gpu.buffer_data_with_u8_array(Gpu::ARRAY_BUFFER, self.batch.bytes(), Gpu::DYNAMIC_DRAW);
        self.gpu.draw_arrays_instanced(Gpu::TRIANGLE_STRIP, 0, 4, self.batch.len() as i32);
    }
}

/// Shapes and texts together.
pub(super) struct Both<'a> {
    pub(super) shapes: &'a mut Shapes,
    pub(super) texts: &'a mut Painter,
}

impl Canvas for Both<'_> {
    fn clear(&mut self, width: f64, height: f64) {
        self.shapes.batch.clear();
        self.shapes.still = 0;
        self.texts.clear(width, height);
    }

    fn discs(&mut self, discs: &[(Point, f64)], fill: Colour, alpha: f64) {
        for (centre, radius) in discs {
            self.shapes.batch.disc(*centre, *radius, fill, alpha);
        }
    }

    fn circles(&mut self, circles: &[(Point, f64)], stroke: Stroke) {
        for (centre, radius) in circles {
            // From the right on, as on the other canvas: dashes begin there.
            self.shapes.batch.arc(*centre, *radius, 0.25, 1.0, stroke);
        }
    }

    fn arc(&mut self, centre: Point, radius: f64, from: f64, share: f64, stroke: Stroke) {
        self.shapes.batch.arc(centre, radius, from, share, stroke);
    }

    fn lines(&mut self, lines: &[&[Point]], stroke: Stroke) {
        for line in lines {
            self.shapes.batch.line(line, stroke);
        }
    }

    fn triangles(&mut self, triangles: &[[Point; 3]], fill: Colour, alpha: f64) {
        for triangle in triangles {
            self.shapes.batch.triangle(*triangle, fill, alpha);
        }
    }

    fn text(&mut self, text: &str, at: Point, font: Font, fill: Colour, outline: Option<Colour>, alpha: f64) {
        self.texts.text(text, at, font, fill, outline, alpha);
    }

    fn glyph(&mut self, path: &str, at: Point, size: f64, fill: Colour, alpha: f64) {
        self.texts.glyph(path, at, size, fill, alpha);
    }

    fn measure(&mut self, text: &str, font: Font) -> f64 {
        self.texts.measure(text, font)
    }
}
