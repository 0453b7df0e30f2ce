"""Official addresses of open corpora, each of one version, and what their publishers say of each file.

None: the publisher says nothing. The loaders compare every utterance with what is known of it in any case.
"""

from __future__ import annotations

from mtlser.corpus import crema_d
from mtlser.corpus.fetch import Download

# Sizes and MD5 are those of Zenodo's records, read where projects quote them that fetched and checked the same files.
EMODB = Download(  # version 1.3.0
    "https://zenodo.org/records/7447302/files/emodb.zip?download=1",
    "emodb.zip",
    num_bytes=39_981_818,
    md5="9d21362dbc5676ef3ab4745d83ced0db",
)
RAVDESS = Download(  # version 1.0.0
    "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
    "Audio_Speech_Actors_01-24.zip",
    num_bytes=208_468_073,
    md5="bc696df654c87fed845eb13823edef8a",
)

# The last commit, of 28 May 2024. GitHub makes the archive (about 455 MB) when asked: no size, digest or resuming.
NEMO = Download("https://github.com/amu-cai/nEMO/archive/66de9999a8f2f605eb5f64841790aa5cb0877782.zip", "nEMO.zip")

# The last commit, of 21 March 2025. An archive of it has pointers in place of audio; here are the files of Git LFS,
# with the sizes and SHA-256 of those pointers (`AudioWAV/*.wav` of this commit; in data/corpora/crema-d.csv).
CREMA_D = (
    "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/"
    "1658cd342dff90010aa843eaeebd53610a08b1dc/AudioWAV"
)


def downloads(name: str) -> tuple[Download, ...]:
    """What `fetch` takes, of one of OPEN_CORPORA (of CREMA-D the four classes). Raises KeyError for another name."""
    if name != "crema-d":
        return ({"emodb": EMODB, "ravdess": RAVDESS, "nemo": NEMO}[name],)
    return tuple(
        Download(f"{CREMA_D}/{row.utterance}.wav", f"{row.utterance}.wav", int(row.num_bytes), sha256=row.digest)
        for row in crema_d.CARD.known().itertuples()
    )
