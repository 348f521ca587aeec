//! Data of every kind by a script: what it holds, and what is said of a file that cannot be read.

mod common;

use common::Folder;

#[test]
fn tables_of_numbers_and_words() {
    let folder = Folder::new("table");
    folder.write(
        "t.csv",
        "age,hair colour,n\n3,red,\n4,,2\n5,\"dark, blue\",3\n",
    );
    let run = folder
        .run(
            "use data\nlet t = data.table(\"t.csv\")\nprint t.names, t.columns.age\n\
             print t.columns.hair_colour, t.levels.hair_colour.words\nprint t.columns.n\n\
             print t.levels.hair_colour.decode(t.columns.hair_colour)\n",
        )
        .well();
    assert_eq!(
        run.out,
        "[\"age\", \"hair_colour\", \"n\"] [3.0, 4.0, 5.0]\n[1, ?, 0] [\"dark, blue\", \"red\"]\n\
         [  ?, 2.0, 3.0]\nred ? dark, blue\n"
    );
    folder.write("twice.csv", "a b,a-b\n1,2\n");
    folder
        .run("use data\nprint data.table(\"twice.csv\").names\n")
        .fails(1, &["`a b` and `a-b` of twice.csv", "the field `a_b`"]);
}

#[test]
fn pictures_and_folders_of_them() {
    let folder = Folder::new("pictures");
    for class in ["cats", "dogs"] {
        std::fs::create_dir_all(folder.0.join("all").join(class)).unwrap();
    }
    folder
        .run(
            "use data\nuse plot\n\
             plot.image([[0.0, 1.0], [1.0, 0.0]], \"one.png\")\n\
             plot.image([[0.0, 1.0], [1.0, 0.0]], \"all/cats/b.png\")\n\
             plot.image([[1.0, 1.0], [1.0, 0.0]], \"all/cats/a.png\")\n\
             plot.image([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]], \"all/dogs/c.png\")\n\
             let x = data.image(\"one.png\")\nlet side = shape(x)[0]\nassert shape(x) == [side, side, 1]\n\
             let c = data.image_classes(\"all\")\nassert shape(c.x) == [3, side, side, 3]\n\
             print c.y, c.classes.words\n\
             assert all(data.images(\"all\") == c.x)\n\
             plot.grid(c.x, \"grid.png\")\n",
        )
        .well();
    let run = folder
        .run(
            "use data\nlet c = data.image_classes(\"all\")\nprint c.y, c.classes.words\n\
             # a red pixel stays red, a grey one is as bright in each channel\n\
             print max(abs(c.x[0, :, :, 0] - c.x[0, :, :, 1])), max(c.x[2, :, :, 0] - c.x[2, :, :, 1])\n",
        )
        .well();
    assert_eq!(run.out, "[0, 0, 1] [\"cats\", \"dogs\"]\n0.0 1.0\n");
    folder.write("all/dogs/d.png", "no picture");
    folder
        .run("use data\nprint shape(data.images(\"all\"))\n")
        .fails(1, &["d.png", "is neither PNG nor JPEG"]);
    folder
        .run("use data\nprint shape(data.images(\"one.png\"))\n")
        .fails(1, &["one.png", "this is a file, not a folder of pictures"]);
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let folder = Folder::new("unread");
    folder
        .write("bytes.txt", b"one\ntwo \xff\n")
        .write("cut.npy", b"\x93NUMPY\x01\x00v\x00{'descr'")
        .write("rows.csv", "a,b\n1,2\n3,x\n")
        .write("hole.csv", "a,b\n1,2\n3,\n");
    for (call, says) in [
        (
            "text(\"bytes.txt\")",
            "bytes.txt, line 2: the byte ff at 8 is not UTF-8",
        ),
        ("npy(\"cut.npy\")", "the header cannot be understood"),
        (
            "csv(\"rows.csv\")",
            "rows.csv, line 3: column 2 (b): `x` is not a number",
        ),
        (
            "stream(\"rows.csv\")",
            "rows.csv, line 3: column 2 (b): `x` is not a number",
        ),
        ("stream(\"hole.csv\")", "row 2: column 2 is empty"),
        ("npz(\"cut.npy\")", "is no zip archive"),
        ("tensors(\"cut.npy\")", "is no safetensors file"),
        ("image(\".\")", "this is a folder, not a file"),
        ("table(\"absent.csv\")", "there is no such file"),
    ] {
        folder
            .run(&format!("use data\nlet x = data.{call}\n"))
            .fails(1, &["error[E0811]", says, "script.ae:2"]);
    }
    folder
        .run("use data\nlet x = data.text(\"bytes.txt\", encoding = \"latin1\")\n")
        .fails(
            1,
            &["`encoding` is `\"utf-8\"` or `\"latin-1\"`, not `\"latin1\"`"],
        );
    let run = folder
        .run("use data\nprint data.lines(\"bytes.txt\", encoding = \"latin-1\")\n")
        .well();
    assert_eq!(run.out, "[\"one\", \"two \u{ff}\"]\n");
}

#[test]
fn more_memory_than_there_is_is_refused() {
    let folder = Folder::new("memory");
    folder
        .run(
            "use optim\nmodel Wide(D, H) {\n  param W: [H, D] ~ glorot\n\
             \x20 loss(x: [D]) = sum(tanh(W @ x)^3)\n}\n\
             let x: [100000, 2] ~ normal(0, 1)\n\
             let m = train Wide(2, 2000000) on x { batch = all, epochs = 1, checkpoint = \"c.ckpt\" }\n",
        )
        .fails(1, &["error[E0817]", "of memory, but", "nothing was started"]);
    assert_eq!(folder.names(), ["script.ae"]);
}

#[test]
fn logs_for_tables_programs_and_tensorboard() {
    let folder = Folder::new("logs");
    let run = folder
        .run(
            "use optim\nmodel M(D) {\n  param w: [D] = 1\n  loss(x: [D]) = (a = sum((w * x)^2), b = 0.5)\n}\n\
             let x: [64, 4] ~ normal(0, 1)\n\
             let m = train M(4) on x { epochs = 3, log = [\"l.csv\", \"l.jsonl\", \"l.tfevents\"], validate = x }\n\
             let h = history(m)\nprint len(h.loss), all(h.loss == h.a + 0.5)\n\
             save(m, \"m.safetensors\")\nlet back = history(load(M(4), \"m.safetensors\"))\n\
             assert all(back.validation == h.validation)\n",
        )
        .well();
    assert_eq!(run.out, "3 true\n");
    let read = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
    let csv = String::from_utf8(read("l.csv")).unwrap();
    assert!(
        csv.starts_with("epoch,loss,a,b,validation,validation_a,validation_b\n1,"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 4);
    let json = String::from_utf8(read("l.jsonl")).unwrap();
    assert!(json.lines().count() == 3 && json.starts_with("{\"epoch\":1,\"loss\":"));
    // Records of TensorFlow: a length, its check sum, that many bytes, their check sum.
    let events = read("l.tfevents");
    let (mut at, mut records) = (0, 0);
    while at < events.len() {
        let length = u64::from_le_bytes(events[at..at + 8].try_into().unwrap());
        at += 8 + 4 + length as usize + 4;
        records += 1;
    }
    assert_eq!((at, records), (events.len(), 4));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let folder = Folder::new("full");
    folder.write("old.npy", "what was there");
    std::os::unix::fs::symlink("/dev/full", folder.0.join("full.npy")).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.0.join("full.csv")).unwrap();
    for (statement, name) in [
        ("export(x, \"full.npy\")", "full.npy"),
        ("export(x, \"full.csv\")", "full.csv"),
        ("save((a = x), \"full.npy\")", "full.npy"),
        (
            "let m = train M(4) on x { epochs = 2, log = \"full.csv\" }",
            "full.csv",
        ),
        (
            "let m = train M(4) on x { epochs = 2, checkpoint = \"full.npy\" }",
            "full.npy",
        ),
    ] {
        folder
            .run(&format!(
                "use optim\nmodel M(D) {{\n  param w: [D] = 1\n  loss(x: [D]) = sum((w * x)^2)\n}}\n\
                 let x: [64, 4] ~ normal(0, 1)\n{statement}\n"
            ))
            .fails(1, &["error[E081", name, "script.ae:7"]);
    }
    assert_eq!(
        folder.names(),
        ["full.csv", "full.npy", "old.npy", "script.ae"]
    );
}
