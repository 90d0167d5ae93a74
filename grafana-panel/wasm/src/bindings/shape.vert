#version 300 es
// A rectangle around each instance (see `batch.rs` for its layout), in device pixels.
precision highp float;
layout(location = 0) in vec4 a_place;
layout(location = 1) in vec4 a_more;
layout(location = 2) in vec3 a_look;
layout(location = 3) in vec4 a_colour;
layout(location = 4) in vec4 a_dash;
uniform vec2 u_size;
uniform float u_ratio;
flat out vec4 v_place;
flat out vec4 v_more;
flat out vec3 v_look;
flat out vec4 v_colour;
flat out vec4 v_dash;
out vec2 v_at;

void main() {
  vec2 corner = vec2(float(gl_VertexID & 1), float(gl_VertexID >> 1));
  vec4 place = a_place * u_ratio;
  // Thinner than a device pixel is as thin as one, as on the other canvas.
  float half_width = a_look.x * u_ratio;
  int kind = int(a_look.y);
  vec4 more = a_more;
  vec2 at;
  if (kind < 4) {
    half_width = max(half_width, 0.5);
    vec2 along = place.zw - place.xy;
    float far = max(length(along), 1e-6);
    along /= far;
    float reach = half_width + 1.0;
    at = place.xy + along * mix(-reach, far + reach, corner.x) + vec2(-along.y, along.x) * mix(-reach, reach, corner.y);
  } else if (kind == 4) {
    float reach = place.z + half_width + 1.0;
    at = place.xy + mix(vec2(-reach), vec2(reach), corner);
  } else {
    more = a_more * u_ratio;
    vec2 low = min(place.xy, min(place.zw, more.xy)) - 1.0;
    vec2 high = max(place.xy, max(place.zw, more.xy)) + 1.0;
    at = mix(low, high, corner);
  }
  v_place = place;
  v_more = more;
  v_look = vec3(half_width, a_look.y, a_look.z);
  v_colour = a_colour;
  v_dash = a_dash;
  v_at = at;
  gl_Position = vec4(at.x / u_size.x * 2.0 - 1.0, 1.0 - at.y / u_size.y * 2.0, 0.0, 1.0);
}
