"""Under whose terms a report shows people."""

TERMS = {
    "sysu": "The agreement of SYSU-MM01 that you signed",
    "regdb": "The agreement of RegDB (Dongguk University) that you signed",
    "llcm": "The release agreement of LLCM that you signed",
    "market_sketch_1k": "The licence of Market-Sketch-1K (CC BY-NC-SA 4.0), whose photos are those of Market-1501,",
    "pku_sketch": "The agreement of PKU-Sketch that you made with its authors",
}


def terms(set_name: str, dataset: str) -> str:
    """A sentence. dataset: the set's name in reports, which says where its people are drawn."""
    if "synthetic" in dataset:
        return "The people in the images are drawn by a program: nobody's terms apply."
    whose = TERMS.get(set_name, "What you agreed with the people in these images, or with who gave you the images,")
    return f"{whose} decides who may see the images on this page."
