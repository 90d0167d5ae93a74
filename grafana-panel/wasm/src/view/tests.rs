use super::*;
use crate::canvas::recorder::Recorder;
use crate::colour::on_scale;
use crate::layout::Arrangement;
use crate::layout::tests::random_calls;
use crate::samples::tests::pack;

fn shop() -> Vec<&'static str> {
    vec![
        "quoll_edge_strength{client=web,server=cart} 0.8",
        "quoll_edge_requests_per_second{client=web,server=cart} 100",
        "quoll_edge_error_ratio{client=web,server=cart} 0.3",
        "quoll_edge_strength{client=cart,server=db} 0.9",
        "quoll_edge_requests_per_second{client=cart,server=db} 3",
        "quoll_edge_strength{client=web,server=search} 0.6",
        "quoll_anomaly_score{service_name=db} 3.5",
        "quoll_anomaly_score{service_name=cart} 1.2",
        "quoll_anomaly_score{service_name=search} 0.2",
        "quoll_root_cause_probability{service_name=db,incident=i} 0.91",
        "quoll_root_cause_probability{service_name=cart,incident=i} 0.06",
        "quoll_no_fault_probability{incident=i} 0.03",
    ]
}

fn view(lines: &[&str]) -> (View, Recorder) {
    let mut view = View::default();
    let mut canvas = Recorder::default();
    view.resize(800.0, 400.0);
    let (packed, values) = pack(lines);
    view.load(&packed, &values, 0.0);
    view.paint(&mut canvas, 1e6);
    (view, canvas)
}

#[test]
fn paints_exactly_the_services_and_calls_it_was_given() {
    let (view, canvas) = view(&shop());
    let drawn = view.drawn();
    let name = |place: usize| view.shown.nodes[place].label.as_str();
    assert_eq!((0..4).map(name).collect::<Vec<_>>(), ["cart", "db", "search", "web"]);
    let edges: Vec<_> = view.shown.links.iter().map(|l| (name(l.from), name(l.to))).collect();
    assert_eq!(edges, [("cart", "db"), ("web", "cart"), ("web", "search")]);
    assert_eq!((drawn.nodes.len(), drawn.edges.len()), (4, 3));
    assert_eq!((canvas.lines, canvas.triangles), (3 + 2, 3), "three calls, and two of them on the way of the fault");
    let theme = view.theme();
    assert_eq!(drawn.nodes[1].fill, Some(on_scale(&theme.score, 3.5)));
    assert_eq!(drawn.nodes[3].fill, None, "no score, no fill");
    assert_eq!(drawn.nodes[1].ring, Some(0.91));
    assert!(drawn.edges[1].width > drawn.edges[0].width, "more requests, wider line");
    assert_eq!(drawn.edges[1].colour, on_scale(&theme.errors, 0.3));
    assert!(drawn.nodes.iter().all(|n| n.label.is_some()));
    assert!(canvas.texts.iter().any(|t| t.0 == "91%"));
    let radius_of_db: Vec<_> = drawn.nodes.iter().map(|n| n.halo.is_some()).collect();
    assert_eq!(radius_of_db, [true, true, false, true], "db's fault reaches cart and web, not search");
}

#[test]
fn supposing_a_fault_shows_its_reach_until_reset() {
    let (mut view, mut canvas) = view(&shop());
    view.suppose_failed(view.model.services.iter().position(|s| s.label == "search"));
    view.paint(&mut canvas, 1e6);
    let drawn = view.drawn();
    assert_eq!(drawn.hypothetical.as_deref(), Some("search"));
    assert_eq!(drawn.nodes.iter().map(|n| n.halo.is_some()).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!(drawn.nodes.iter().map(|n| n.ring.is_some()).collect::<Vec<_>>(), [false, false, true, false]);
    // A refresh keeps the supposition; reset ends it.
    let (packed, values) = pack(&shop());
    view.load(&packed, &values, 2e6);
    view.paint(&mut canvas, 2e6);
    assert_eq!(view.drawn().hypothetical.as_deref(), Some("search"));
    view.reset();
    view.paint(&mut canvas, 2e6);
    assert_eq!(view.drawn().hypothetical, None);
}

#[test]
fn the_pointer_finds_what_was_painted() {
    let (mut view, _) = view(&shop());
    for (place, disc) in view.geometry.discs.clone().into_iter().enumerate() {
        assert_eq!(view.hit(disc.centre.x + 3.0, disc.centre.y), Some(Hit::Node(place)));
    }
    for (link, path) in view.geometry.paths.clone().into_iter().enumerate() {
        let middle = path.points[path.points.len() / 2];
        assert_eq!(view.hit(middle.x, middle.y), Some(Hit::Link(link)));
    }
    assert_eq!(view.hit(-50.0, -50.0), None);
}

fn crowd(services: usize, namespaces: usize) -> Vec<String> {
    let name = |i: usize| (format!("ns-{}", i % namespaces), format!("service-{i}"));
    let line = |&(a, b): &(usize, usize)| {
        let ((an, a), (bn, b)) = (name(a), name(b));
        format!(
            "quoll_edge_requests_per_second{{client={a},client_service_namespace={an},server={b},server_service_namespace={bn}}} 5"
        )
    };
    random_calls(services, 3).iter().map(line).collect()
}

fn texts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

#[test]
fn many_services_start_as_closed_namespaces_that_open_and_close() {
    let lines = crowd(400, 8);
    let (mut view, mut canvas) = view(&texts(&lines));
    assert_eq!(view.drawn().nodes.len(), 8);
    let at = view.drawn().nodes[2].centre;
    assert_eq!(view.hit(at.x, at.y), Some(Hit::Node(402)));
    assert!(view.set_open("ns-2", true, 1e6));
    assert!(!view.set_open("ghost", true, 1e6));
    assert!(view.paint(&mut canvas, 1e6), "services come out of their namespace");
    let start = view.drawn().nodes[0].centre;
    view.paint(&mut canvas, 2e6);
    assert_eq!(view.drawn().nodes.len(), 57);
    assert!(start.distance(view.drawn().nodes[0].centre) > 1.0);
    let (packed, values) = pack(&texts(&lines));
    view.load(&packed, &values, 3e6);
    assert_eq!(view.shown.nodes.len(), 57, "a refresh closes nothing");
    view.set_open("ns-2", false, 4e6);
    view.paint(&mut canvas, 5e6);
    assert_eq!(view.drawn().nodes.len(), 8);
}

#[test]
fn flow_runs_only_where_animation_is_allowed() {
    let (mut view, mut canvas) = view(&shop());
    view.set_flow(true);
    let dots = |view: &View, canvas: &mut Recorder, now: f64| {
        canvas.discs.clear();
        view.paint_flow(canvas, now);
        canvas.discs.clone()
    };
    let (one, two) = (dots(&view, &mut canvas, 1000.0), dots(&view, &mut canvas, 1200.0));
    assert!(!one.is_empty() && one != two);
    view.set_animate(false);
    assert!(dots(&view, &mut canvas, 1000.0).is_empty());
}

#[test]
fn what_the_user_chose_survives_being_saved_and_restored() {
    let (mut first, mut canvas) = view(&shop());
    first.arrange(Arrangement::Force, 1e6);
    first.drag(1, 123.0, 77.0);
    first.paint(&mut canvas, 2e6);
    let saved = first.save();
    let (mut second, mut canvas) = view(&shop());
    assert!(second.restore(&saved, 1e6));
    second.paint(&mut canvas, 2e6);
    assert_eq!(second.stage.used(), Arrangement::Force);
    assert_eq!(second.save(), saved);
    assert_eq!(second.stage.slot(&second.model.services[1].key), first.stage.slot(&first.model.services[1].key));
    for bad in ["", "{}", "{\"version\":99}", "[1]"] {
        assert!(!second.restore(bad, 3e6), "{bad}");
    }
}

#[test]
fn another_time_shows_its_state_and_now_comes_back() {
    use crate::timeline::{Quantity, Series};
    let (mut view, mut canvas) = view(&shop());
    let key = view.model.services[0].key.clone();
    let series = vec![Series { key, quantity: Quantity::Posterior, values: vec![0.7, 0.2] }];
    view.set_timeline(Timeline::new(&[1000.0, 2000.0], series));
    view.set_time(Some(1500.0));
    view.paint(&mut canvas, 1e6);
    let rings = |view: &View| view.drawn().nodes.iter().map(|n| n.ring).collect::<Vec<_>>();
    assert_eq!(rings(&view), [Some(0.7), None, None, None]);
    view.set_time(None);
    view.paint(&mut canvas, 1e6);
    assert_eq!(rings(&view), [Some(0.06), Some(0.91), None, None]);
}

#[test]
fn arrows_walk_from_node_to_node_and_search_dims_the_rest() {
    let (mut view, mut canvas) = view(&shop());
    assert_eq!(view.beside(None, 1.0, 0.0), Some(1), "the root first");
    let cart = view.beside(Some(3), 1.0, 0.0).unwrap();
    assert!(cart == 0 || cart == 2);
    assert_eq!(view.set_search("Sea"), 1);
    view.paint(&mut canvas, 1e6);
    assert_eq!(view.marks.iter().map(|m| m.dim).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(view.set_search(""), 4);
}

#[test]
fn the_picture_is_written_as_svg() {
    let (mut view, _) = view(&shop());
    let svg = view.svg(&mut |text, font| text.len() as f64 * font.size * 0.5, 1e6);
    for part in ["<svg ", ">catalog<", ">91%<", "stroke-dasharray"] {
        assert_eq!(svg.contains(part), part != ">catalog<", "{part}");
    }
}

#[test]
fn a_refresh_moves_nothing() {
    let (mut view, mut canvas) = view(&shop());
    let before: Vec<_> = view.drawn().nodes.iter().map(|n| n.centre).collect();
    let (packed, values) = pack(&shop());
    view.load(&packed, &values, 2e6);
    view.paint(&mut canvas, 2e6);
    assert_eq!(before, view.drawn().nodes.iter().map(|n| n.centre).collect::<Vec<_>>());
}

#[test]
fn painted_labels_do_not_overlap_even_in_a_crowd() {
    let lines: Vec<String> = random_calls(120, 3)
        .iter()
        .map(|(a, b)| format!("quoll_edge_strength{{client=service-{a},server=service-{b}}} 0.5"))
        .collect();
    let (view, _) = view(&texts(&lines));
    let labels: Vec<_> = view.drawn().nodes.iter().filter_map(|n| n.label.as_ref()).collect();
    assert!(labels.len() > 10);
    for (i, a) in labels.iter().enumerate() {
        assert!(labels[i + 1..].iter().all(|b| !a.1.overlaps(&b.1)));
    }
}

#[test]
fn nothing_to_show_paints_nothing() {
    let (mut view, canvas) = view(&[]);
    assert_eq!((canvas.lines, canvas.discs.len()), (0, 0));
    assert_eq!(view.hit(1.0, 1.0), None);
    view.suppose_failed(Some(3));
    assert!(!view.set_focus(Some(9)));
    assert!(view.drawn_json().starts_with("{\"size\":[800.0,400.0],\"nodes\":[]"));
}
