//! Writers: what they write can be read back, and failures leave nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aec_runtime::write::{Image, load_weights, save_weights, write_atomic, write_grid};
use aec_runtime::{Data, Elem, Tensor};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn pixels(path: &Path) -> (usize, usize, usize, Vec<u8>) {
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    (
        info.height as usize,
        info.width as usize,
        info.color_type.samples(),
        bytes,
    )
}

#[test]
fn a_grid_of_grey_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.png");
    let a = Image::of(&[2, 3], vec![0.0, 0.5, 1.0, -3.0, f32::NAN, 7.0]).unwrap();
    write_grid(&path, &[vec![a.clone(), a.clone()], vec![a]], 2).unwrap();
    let (height, width, channels, bytes) = pixels(&path);
    assert_eq!((height, width, channels), (2 * 7, 2 * 9, 1));
    let at = |y: usize, x: usize| bytes[2 * y * width + 2 * x];
    assert_eq!(
        [at(1, 1), at(1, 2), at(1, 3), at(2, 1), at(2, 2), at(2, 3)],
        [0, 128, 255, 0, 0, 255]
    );
    assert_eq!([at(1, 5), at(1, 7), at(4, 1), at(5, 3)], [0, 255, 0, 255]);
    let line = at(0, 0);
    assert!(
        [at(3, 3), at(1, 4), at(4, 5), at(6, 8)]
            .iter()
            .all(|&b| b == line)
    );
    assert!((0..height).all(|y| (0..width).all(|x| bytes[y * width + x] == at(y / 2, x / 2))));
    assert_eq!(names(dir.path()), ["g.png"]);
}

#[test]
fn grids_in_colour_and_of_a_chosen_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.png");
    let colour = Image::of(&[1, 1, 3], vec![1.0, 0.0, 0.0]).unwrap();
    let grey = Image::of(&[1, 1], vec![1.0]).unwrap();
    write_grid(&path, &[vec![colour, grey]], 1).unwrap();
    let (_, width, channels, bytes) = pixels(&path);
    assert_eq!((width, channels), (5, 3));
    assert_eq!(bytes[(width + 1) * 3..(width + 2) * 3], [255, 0, 0]);
    assert_eq!(bytes[(width + 3) * 3..(width + 4) * 3], [255, 255, 255]);
    let examples = Tensor::f32(&[10, 64], vec![0.3; 640]);
    let row = Image::row(&examples).unwrap();
    assert_eq!((row.len(), row[0].height, row[0].width), (10, 8, 8));
    write_grid(&path, &[row.clone(), row], 0).unwrap();
    let (_, width, _, _) = pixels(&path);
    assert!((400..500).contains(&width), "{width}");
}

#[test]
fn shapes_of_pictures() {
    let shape = |dims: &[usize]| {
        Image::of(dims, vec![0.0; dims.iter().product()]).map(|i| (i.height, i.width, i.channels))
    };
    assert_eq!(shape(&[784]), Some((28, 28, 1)));
    assert_eq!(shape(&[12]), Some((2, 2, 3)));
    assert_eq!(shape(&[7]), Some((1, 7, 1)));
    assert_eq!(shape(&[4, 5]), Some((4, 5, 1)));
    assert_eq!(shape(&[4, 5, 3]), Some((4, 5, 3)));
    assert_eq!(shape(&[4, 5, 2]), None);
    assert_eq!(shape(&[]), None);
    assert_eq!(Image::of(&[2, 2], vec![0.0; 3]), None);
}

#[test]
fn impossible_grids_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.png");
    assert!(
        write_grid(&path, &[], 0)
            .unwrap_err()
            .message
            .contains("no picture")
    );
    assert!(write_grid(&path, &[vec![]], 0).is_err());
    let wrong = Image {
        height: 2,
        width: 2,
        channels: 1,
        pixels: vec![0.0; 3],
    };
    assert!(write_grid(&path, &[vec![wrong]], 0).is_err());
    let one = Image::of(&[1, 1], vec![1.0]).unwrap();
    assert!(
        write_grid(&path, &[vec![one]], usize::MAX)
            .unwrap_err()
            .message
            .contains("too large")
    );
    assert!(names(dir.path()).is_empty());
}

#[test]
fn weights_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let tensors = [
        (
            "enc.W",
            Tensor::f32(&[2, 2], vec![1.0, -0.0, f32::INFINITY, 1e-40]),
        ),
        ("b", Tensor::f64(&[1], vec![0.1])),
        ("n", Tensor::new(vec![3], Data::I32(vec![1, -2, i32::MAX]))),
        ("k", Tensor::i64(&[], vec![i64::MIN])),
        (
            "flag \"q\" \n é",
            Tensor::new(vec![3], Data::Bool(vec![1, 0, 1])),
        ),
        ("none", Tensor::zeros(Elem::F32, &[0, 4])),
    ];
    let named: Vec<(&str, &Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| (*name, tensor))
        .collect();
    let metadata: BTreeMap<String, String> = [
        ("source", "model A {\n\t\"x\\\" }\u{1}"),
        ("version", "1"),
        ("ü", "ß"),
    ]
    .map(|(k, v)| (k.to_string(), v.to_string()))
    .into();
    save_weights(&path, &named, &metadata).unwrap();
    let first = fs::read(&path).unwrap();
    let back = load_weights(&path).unwrap();
    assert_eq!(back.metadata, metadata);
    assert_eq!(back.tensors.len(), tensors.len());
    for (name, tensor) in &tensors {
        assert_eq!(back.get(name), Some(tensor));
    }
    assert!(back.get("absent").is_none());
    save_weights(&path, &named, &metadata).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    save_weights(&path, &[], &BTreeMap::new()).unwrap();
    assert_eq!(load_weights(&path).unwrap().tensors, []);
    assert_eq!(names(dir.path()), ["w.safetensors"]);
    for name in ["twice", "__metadata__"] {
        let t = &tensors[0].1;
        assert!(save_weights(&path, &[(name, t), (name, t)], &metadata).is_err());
    }
}

#[test]
fn damaged_weights_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let tensor = Tensor::f32(&[3], vec![1.0, 2.0, 3.0]);
    save_weights(&path, &[("w", &tensor)], &BTreeMap::new()).unwrap();
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(
            load_weights(&path)
                .unwrap_err()
                .to_string()
                .contains("w.safetensors")
        );
    }
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x15;
        fs::write(&path, &bad).unwrap();
        // A changed number is another number; anything else must be an error, not a panic.
        let _ = load_weights(&path);
    }
    fs::remove_file(&path).unwrap();
    assert!(
        load_weights(&path)
            .unwrap_err()
            .message
            .contains("no such file")
    );
}

#[test]
fn places_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &Path| write_atomic(path, |out| out.write_all(b"new"));
    let absent = write(&dir.path().join("absent/x")).unwrap_err();
    assert!(
        absent.message.contains("doesn't exist") && absent.help.is_some(),
        "{absent}"
    );
    assert!(write(dir.path()).unwrap_err().message.contains("folder"));
    fs::write(dir.path().join("file"), "x").unwrap();
    assert!(
        write(&dir.path().join("file/x"))
            .unwrap_err()
            .message
            .contains("not a folder")
    );
    assert!(write(Path::new("/")).is_err());
    assert!(write(Path::new("")).is_err());
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, "old").unwrap();
    let result = write_atomic(&path, |out| {
        out.write_all(&[0; 100_000])?;
        Err(std::io::ErrorKind::StorageFull.into())
    });
    assert_eq!(result.unwrap_err().message, "the disk is full");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["x"]);
    write_atomic(&path, |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_written_straight() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    write_atomic(&link, |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    if Path::new("/dev/full").exists() {
        let full = write_atomic(Path::new("/dev/full"), |out| out.write_all(&[0; 100_000]));
        assert_eq!(full.unwrap_err().message, "the disk is full");
    }
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let locked = dir.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let result = write_atomic(&locked.join("x"), |out| out.write_all(b"new"));
    // The superuser may write anywhere.
    match result {
        Ok(()) => println!("skipped: this user may write in read-only folders"),
        Err(error) => {
            assert!(
                error.message.contains("no permission") && error.message.contains("locked"),
                "{error}"
            );
            assert!(names(&locked).is_empty());
        }
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
}
