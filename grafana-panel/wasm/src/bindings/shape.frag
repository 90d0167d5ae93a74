#version 300 es
// How much of a pixel an instance covers; colours leave premultiplied.
precision highp float;
uniform float u_ratio;
flat in vec4 v_place;
flat in vec4 v_more;
flat in vec3 v_look;
flat in vec4 v_colour;
flat in vec4 v_dash;
in vec2 v_at;
out vec4 colour;

const float TURN = 6.283185307179586;

// The part of a pixel at `away` from the middle of a stripe that lies in it.
float stripe(float away, float half_width) {
  return clamp(half_width - away + 0.5, 0.0, 1.0) - clamp(-half_width - away + 0.5, 0.0, 1.0);
}

// The part of a pixel that lies on a dash, `along` CSS pixels from the start of the line.
float on_dash(float along) {
  float period = v_dash.x + v_dash.y + v_dash.z + v_dash.w;
  if (period <= 0.0) {
    return 1.0;
  }
  float at = mod(along, period);
  float second = v_dash.x + v_dash.y;
  float one = max(min(at, v_dash.x - at), at - period);
  float two = min(at - second, second + v_dash.z - at);
  return clamp(max(one, two) * u_ratio + 0.5, 0.0, 1.0);
}

float inside(vec2 a, vec2 b, float turn) {
  vec2 edge = b - a;
  return clamp(turn * (edge.x * (v_at.y - a.y) - edge.y * (v_at.x - a.x)) / max(length(edge), 1e-6) + 0.5, 0.0, 1.0);
}

void main() {
  int kind = int(v_look.y);
  float half_width = v_look.x;
  float cover;
  if (kind < 4) {
    vec2 from = v_at - v_place.xy;
    vec2 along = v_place.zw - v_place.xy;
    float far = max(length(along), 1e-6);
    along /= far;
    float passed = dot(from, along);
    cover = stripe(abs(dot(from, vec2(-along.y, along.x))), half_width);
    if ((kind & 1) != 0) {
      cover *= clamp(passed + 0.5, 0.0, 1.0);
    } else if (dot(from, v_more.xy) < 0.0) {
      discard;
    }
    if ((kind & 2) != 0) {
      cover *= clamp(far - passed + 0.5, 0.0, 1.0);
    } else if (dot(v_at - v_place.zw, v_more.zw) >= 0.0) {
      discard;
    }
    cover *= on_dash(v_look.z + passed / u_ratio);
  } else if (kind == 4) {
    vec2 from = v_at - v_place.xy;
    float away = length(from);
    cover = v_place.z > 0.0 ? stripe(abs(away - v_place.z), half_width) : clamp(half_width - away + 0.5, 0.0, 1.0);
    float turn = fract(atan(from.x, -from.y) / TURN - v_more.x + 1.0);
    if (v_more.y < 1.0 && turn > v_more.y) {
      cover *= clamp(0.5 - min(turn - v_more.y, 1.0 - turn) * TURN * away, 0.0, 1.0);
    }
    if (v_place.z > 0.0) {
      cover *= on_dash(turn * TURN * v_place.z / u_ratio);
    }
  } else {
    vec2 ab = v_place.zw - v_place.xy;
    vec2 ac = v_more.xy - v_place.xy;
    float turn = ab.x * ac.y - ab.y * ac.x < 0.0 ? -1.0 : 1.0;
    cover = min(inside(v_place.xy, v_place.zw, turn), min(inside(v_place.zw, v_more.xy, turn), inside(v_more.xy, v_place.xy, turn)));
  }
  float alpha = v_colour.a * cover;
  if (alpha <= 0.0) {
    discard;
  }
  colour = vec4(v_colour.rgb * alpha, alpha);
}
