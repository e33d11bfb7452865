from __future__ import annotations

import pytest

from pathduet.core.errors import SlideError
from pathduet.slides.readers.pixel_size import PixelSize, pixel_size

FILE = {"openslide.mpp-x": "0.2521", "openslide.mpp-y": "0.2533"}


def test_sheet_wins_over_file_over_default() -> None:
    assert pixel_size("a", FILE, 0.251, 0.3) == PixelSize(0.251, 0.251, "sheet")
    assert pixel_size("a", FILE, None, 0.3) == PixelSize(0.2521, 0.2533, "file:openslide.mpp-x")
    assert pixel_size("a", {}, None, 0.3) == PixelSize(0.3, 0.3, "config")


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"aperio.MPP": "0.4990"}, PixelSize(0.499, 0.499, "file:aperio.MPP")),
        (
            {"tiff.XResolution": "20000", "tiff.YResolution": "40000", "tiff.ResolutionUnit": "centimeter"},
            PixelSize(0.5, 0.25, "file:tiff.XResolution"),
        ),
        (
            {"tiff.XResolution": "50800", "tiff.ResolutionUnit": "inch"},
            PixelSize(0.5, 0.5, "file:tiff.XResolution"),
        ),
        ({"openslide.mpp-x": "352.8", "aperio.MPP": "0.25"}, PixelSize(0.25, 0.25, "file:aperio.MPP")),
        (
            {"ome.PhysicalSizeX": "0.25", "ome.PhysicalSizeY": "0.26"},
            PixelSize(0.25, 0.26, "file:ome.PhysicalSizeX"),
        ),
        (
            {  # DICOM: millimetres between rows, then between columns
                "dicom.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing[0]": "0.0005",
                "dicom.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing[1]": "0.00025",
            },
            PixelSize(0.25, 0.5, "file:dicom.PixelSpacing"),
        ),
        ({"image.dpi-x": "50800"}, PixelSize(0.5, 0.5, "file:image.dpi-x")),
        (
            {"image.dpi-x": "72", "openslide.objective-power": "40"},
            PixelSize(0.25, 0.25, "inferred:objective-power"),
        ),
    ],
)
def test_each_way_a_file_can_say_it(properties: dict[str, str], expected: PixelSize) -> None:
    found = pixel_size("a", properties, None, None)
    assert found.source == expected.source
    assert (found.x, found.y) == pytest.approx((expected.x, expected.y))


@pytest.mark.parametrize(
    ("properties", "sheet", "named"),
    [
        ({}, None, "neither"),
        ({"openslide.mpp-x": "352.7778", "openslide.mpp-y": "352.7778"}, None, "352.8"),
        ({"aperio.MPP": "abc"}, None, "neither"),
        ({"tiff.XResolution": "1", "tiff.ResolutionUnit": "none"}, None, "neither"),
        (FILE, 25.0, "25"),
        (FILE, 0.01, "0.01"),
    ],
)
def test_a_missing_or_absurd_size_is_refused_with_what_was_found(
    properties: dict[str, str], sheet: float | None, named: str
) -> None:
    with pytest.raises(SlideError) as error:
        pixel_size("a", properties, sheet, None)
    assert error.value.reason == "no_mpp" and named in error.value.found and "slides.tsv" in str(error.value)


def test_an_inference_comes_after_every_measurement_and_before_the_default() -> None:
    power = {"openslide.objective-power": "20"}
    assert pixel_size("a", {**FILE, **power}, None, None).source == "file:openslide.mpp-x"
    assert pixel_size("a", power, None, 0.3) == PixelSize(0.5, 0.5, "inferred:objective-power")
    with pytest.raises(SlideError):
        pixel_size("a", {"openslide.objective-power": "0"}, None, None)


@pytest.mark.parametrize(
    ("properties", "noted"),
    [
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25", "openslide.objective-power": "20"}, "objective-power says 0.5"),
        ({"aperio.MPP": "0.5", "tiff.XResolution": "40000", "tiff.ResolutionUnit": "centimeter"}, "tiff.XResolution says 0.25"),
        ({"openslide.mpp-x": "0.2738", "openslide.mpp-y": "0.2738", "openslide.objective-power": "40"}, ""),
        ({"aperio.MPP": "0.5", "tiff.XResolution": "72", "tiff.ResolutionUnit": "inch"}, ""),  # no believable one
    ],
)  # fmt: skip
def test_a_file_that_contradicts_itself_is_noted(properties: dict[str, str], noted: str) -> None:
    note = pixel_size("s", properties, None, None).note
    assert noted in note and bool(note) == bool(noted)


@pytest.mark.parametrize(
    ("properties", "sheet", "noted"),
    [
        ({"openslide.mpp-x": "0.499", "openslide.mpp-y": "0.499"}, 0.25, "0.25 um of sheet taken, although openslide.mpp-x says 0.499"),
        ({"openslide.objective-power": "20"}, 0.25, "objective-power says 0.5"),
        ({"openslide.mpp-x": "0.2738"}, 0.25, ""),
        ({"openslide.mpp-x": "0.5"}, 0.4, "openslide.mpp-x says 0.5"),  # a fifth off: a nominal power may be, a measurement not
        ({"openslide.objective-power": "20"}, 0.4, ""),
        ({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.34"}, 0.41, "pixels are not square: 0.5 x 0.34 um"),
        ({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.17"}, 0.3, "pixels are not square: 0.5 x 0.17 um"),
        ({"openslide.mpp-x": "0.4", "openslide.mpp-y": "0.25"}, None, "pixels are not square: 0.4 x 0.25 um"),
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "2.5", "openslide.objective-power": "40"}, None, ""),  # 2.5: not believed
        ({"openslide.mpp-x": "0.25", "dicom.ImagedVolumeWidth": "1", "dicom.TotalPixelMatrixColumns": "2000",
          "dicom.ImagedVolumeHeight": "1", "dicom.TotalPixelMatrixRows": "2000"}, None, "dicom.ImagedVolumeWidth says 0.5"),
    ],
)  # fmt: skip
def test_what_speaks_against_a_pixel_size_is_noted(
    properties: dict[str, str], sheet: float | None, noted: str
) -> None:
    note = pixel_size("s", properties, sheet, None).note
    assert noted in note and bool(note) == bool(noted)


def test_pixels_of_an_impossible_shape_are_refused() -> None:
    with pytest.raises(SlideError, match=r"0\.25 x 2\.5 um"):
        pixel_size("s", {"openslide.mpp-x": "0.25", "openslide.mpp-y": "2.5"}, None, None)


@pytest.mark.parametrize(
    ("description", "noted"),
    [
        ("7200x8000 [0,0 7200x8000] (256x256) -> 1800x2000 JPEG/RGB Q=70|AppMag = 40|MPP = 0.2500", True),
        ("7200x8000|AppMag = 40|MPP = 0.2500", True),  # the page was taken out, the text was not changed
        ("9000x9000 [100,200 1800x2000] (256x256) J2K/YUV16 Q=70|MPP = 0.25", False),  # a region of a larger slide
        ("9000x9000 [0,100,1800x2000] (256x256) JPEG/YCbCr Q=91|MPP = 0.25", False),  # as one scanner writes it
        ("1800x2000 [9,9 1800x2000] Q=30;Aperio Image Library v10.0.51\r\n9000x9000 [0,100 8000x8000]|MPP = 0.25", False),
    ],
)  # fmt: skip
def test_a_description_of_a_finer_level_than_the_file_has_is_noted(description: str, noted: bool) -> None:
    properties = {
        "tiff.ImageDescription": f"Aperio Image Library v11.2.1 \r\n{description}",
        "openslide.level[0].width": "1800", "openslide.level[0].height": "2000", "aperio.MPP": "0.25",
    }  # fmt: skip
    found = pixel_size("s", properties, None, None)
    assert found.x == 0.25 and ("if the finest level was dropped" in found.note) == noted
    assert pixel_size("s", properties, 1.0, None).note.startswith("pixel size 1 um of sheet taken")


def test_ome_xml_of_a_finer_level_than_the_file_has_is_noted() -> None:
    properties = {
        "ome.PhysicalSizeX": "0.25",
        "openslide.level[0].width": "1800",
        "openslide.level[0].height": "2000",
    }
    for width, height, noted in (("7200", "8000", True), ("1800", "2000", False)):
        note = pixel_size("s", properties | {"ome.SizeX": width, "ome.SizeY": height}, None, None).note
        assert ("if the finest level was dropped" in note) == noted
