"""Signatures that others have published, and those of botocore: ours are the same.

The keys are test keys that everyone knows: aws-cli's (tests/functional/cloudfront/test_sign.py and its shared
sign-test-cases.json, RSA-2048, RSA-1024 and P-256) and boto 2's (tests/unit/cloudfront/test_signed_urls.py, RSA-1024),
the latter from the examples of Amazon's own guide. A key of 1,024 bits is refused where keys are loaded, so it signs
here below that check.
"""

import pytest
from botocore.signers import CloudFrontSigner as BotocoreSigner
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wildcast.contract.policy import Policy, b64_encode, canned_policy, encode_policy
from wildcast_server.errors import InvalidKeyPairError
from wildcast_server.signing.cloudfront import CloudFrontSigner, HashAlgorithm, raw_signature
from wildcast_server.signing.keys import PrivateKey, load_private_key, public_key_pem
from wildcast_server.signing.verify import Verifier

AWS_CLI_RSA_2048 = """\
-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEAu6o2+Jc8UINw2P/w2l7A1xXu3emQEZQ9diA3bmog8r9Dg+65
fZgAqmuNWPqBivv7j3DGnLUdt8uCIr7PYUbK7wDa6n7U3ryOWtO2ZTc3StiJVcqT
sokZ0qxGFtDRafjBuydXtcxh52vVTcHqH33nubyyZIzuhTwfmrIOnUXnLwbMrBBP
bg/8mlgQooyo1XbrN1eO4XMs+UgQ9Mqc7KRJRinUJ+KYuCnM8f/nN4RjYdjTcghk
xCPEHCeSt2luywWyYmfguWCBS2Mu1q0250wKyNazlgiiTJtAuuSeweb4NKPOJL9X
hR6Ce6UuU4WYlli8gvQh3FAV3N3C1Rxo20k28QIDAQABAoIBAQCUEkP5dWrzpCJg
NeHWizjg/L9SfT1dgXfVQqo6BqckoeElsjDNdifgT6hhcpbQEO52SWeMsiNWp85w
l9mNSYxJdIVGzPgtHt27sJyT1DNebOg/tu0+y4qCfcd3rR/u24YQo4RDP5ZoQN82
0TBn1LIIDWk8iS6SFdRh/OgnE8bLhNbK9IfZQFEEJrFkArrn/le/ro2mfJkC/imo
QvqKmM0dGBXt5SCDSbUQAzKtEcR/4gf/qSjFe2YAwAvSA05WXMH6szdtx6/H/VbK
Uck/WwTHvGObQDFEWmICxPK9AWT0qaFNjlUsi3bjQRdIlYYrXe+6nVMB/Jp1awq7
tGBqIcWBAoGBAPtXCNuoQhKXqkjJgteQpB+wFav12XRZgpOciYdeviJrgWydpOOu
O9wkiRUctUijRJbUuWCJF7SgYGoT2xTTp/COiOReqs7qXLMuuXCZcPKkMRJj5wmo
Uc2AwUV/o3+PNz1NFK+2RgciXplac7qugIyuxIvBKuVFTBlCg0+if/0pAoGBAL8k
845wKqOeiawwle/o9lKLGPy1T11GrE6l1A5jRuE1WTVM77jRrb0Hmo0mdfHaf5A0
EjXGIX/fjcmQzBrEd78eCUsvI2Bgn6xXwhd4TTyWHGZfoQjFqAGkixuLN1oo2h1g
bRreFKfAubFP8MC93z23vnH6tdY2VIA4h5ehUFyJAoGAJqxJrKLDJ+E2TmTTQR/8
YPPTIdZ+UyzCrrvTXYTydJFeJLxM9suEYmcswJbePgMBNsQckgIGJ8DVlPzhJN88
ZANKhPkcByKAiQGTfwPdITiqZE4C6rV/gMNi+bKeEa6TrVcC69Z8B/T94VLNo9fd
58esbmSWmRiEkQ5u7f3u+6ECgYA8+6ANCLJB43nPCu07TpsP+LrvHTWF799XdEa0
lG3vuiKNA8/TqmoAziU79VJZ6Dkcm9BXga/8aSmGboD/5UDDI+UZLJ/fxtQKmzEc
ZdBWjRnge5AYCV+xrnqHPiJZzIDSMIp+sO3sG2vjKzsHc0x/F1lWagOLpWfORLrV
4KyP6QKBgAafeSrfK3LM7idiCBuxckLCgFoHa7uXLUNJRS5iIU+bbZLPj2ozu/tk
U0jp7sNk1CyMWI36lR3sujkSyH3lPIXVgrXMuGY3PJRGntN8WlWEsw4VUMGRj3h4
5rB+y/UOS+nlEwQ6eOS09GByJDEXOXpcwjFcTr/f7V8mi0jH+gY/
-----END RSA PRIVATE KEY-----
"""

AWS_CLI_P256_SEC1 = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIEJv7Bciy04Q7+wqRyaA2xSCsaHtqPmDIQ5msTzcH1xNoAoGCCqGSM49
AwEHoUQDQgAEdPNT3OyY+yjo4dOMWcnmKSeIUzrfH2WHkcfKFm32D9B0/DNP9Coj
qIXILIjVsmvtp0ULy/ICJEeZbKxUv1/OjA==
-----END EC PRIVATE KEY-----
"""

AWS_CLI_P256_PKCS8 = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQm/sFyLLThDv7CpH
JoDbFIKxoe2o+YMhDmaxPNwfXE2hRANCAAR081Pc7Jj7KOjh04xZyeYpJ4hTOt8f
ZYeRx8oWbfYP0HT8M0/0KiOohcgsiNWya+2nRQvL8gIkR5lsrFS/X86M
-----END PRIVATE KEY-----
"""

AWS_CLI_RSA_1024 = """\
-----BEGIN PRIVATE KEY-----
MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAL1XcBtoCSzdyqqm
CFfh0XeLiuCtlE6bXUbscAbl7AUISzbQNKzgO1FwRBDMddfYyOQ/2nDPzLhgAK2E
Kv+dEi4/YEdLg2cbOaxjfhSn6ycwM+C502Ls/CtxHICcqs4cQs7BTlFfk32gy7Oq
kLTbTttIGMWasBAQHLhbJZstDp2vAgMBAAECgYAoujMqIgG/PeIHPPmUdcWJ0mFI
HO5GzlKNG/So9zICjxsmqjh6ay03Qk/R0TkT+dSUjEufcoNVsYjTyhc5rn6nR0SK
UL2IG5r6yFzlh+27u0/CzR1x61zWj01FwI8tacyR1tskyt7jqvT6eYFb1in2BDlE
qdNgTxVrjVBlxU6hkQJBAON8RGwO3g5Pxt0k0yQ6uSu3xj1/2uq4njKcoDgyFcNp
M7ZFW8SX0ZZw3wqSPlzs7mRI79b+G+M97nBw78kdKBkCQQDVEy4WnA3VRSlBRjVH
HwLyK7B9FaRJi70cb0JePnazEZS74FeT6BFW0HsNNeq+awCEcvemKpsOa8nr8QgM
K00HAkEA2keyS9GURz1Lf4VHSHtElOt5QCe/wvw1aDEcF/APK/t1UE+LN7/Jr0ZM
7pLXXklGklneMXiQ/+K8OY5Ut7DPeQJAATjy8r5Cdg7HhdBZTecnpSwK/yy4nJNo
qlkZEGFbXPuk1s8asYaLUuwvSIwepKkIf7oJIbLs4NBNgEUJvsgg0QJBAJx2KEC9
KMs82U4qjLE5vA87r4s4llGgvR+QsYfiwr8LUMlN47DLGrjNpb3JZ58j9Cw3zFPh
yLL0lGtqf49VRDs=
-----END PRIVATE KEY-----
"""

BOTO_RSA_1024 = """\
-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDA7ki9gI/lRygIoOjV1yymgx6FYFlzJ+z1ATMaLo57nL57AavW
hb68HYY8EA0GJU9xQdMVaHBogF3eiCWYXSUZCWM/+M5+ZcdQraRRScucmn6g4EvY
2K4W2pxbqH8vmUikPxir41EeBPLjMOzKvbzzQy9e/zzIQVREKSp/7y1mywIDAQAB
AoGABc7mp7XYHynuPZxChjWNJZIq+A73gm0ASDv6At7F8Vi9r0xUlQe/v0AQS3yc
N8QlyR4XMbzMLYk3yjxFDXo4ZKQtOGzLGteCU2srANiLv26/imXA8FVidZftTAtL
viWQZBVPTeYIA69ATUYPEq0a5u5wjGyUOij9OWyuy01mbPkCQQDluYoNpPOekQ0Z
WrPgJ5rxc8f6zG37ZVoDBiexqtVShIF5W3xYuWhW5kYb0hliYfkq15cS7t9m95h3
1QJf/xI/AkEA1v9l/WN1a1N3rOK4VGoCokx7kR2SyTMSbZgF9IWJNOugR/WZw7HT
njipO3c9dy1Ms9pUKwUF46d7049ck8HwdQJARgrSKuLWXMyBH+/l1Dx/I4tXuAJI
rlPyo+VmiOc7b5NzHptkSHEPfR9s1OK0VqjknclqCJ3Ig86OMEtEFBzjZQJBAKYz
470hcPkaGk7tKYAgP48FvxRsnzeooptURW5E+M+PQ2W9iDPPOX9739+Xi02hGEWF
B0IGbQoTRFdE4VVcPK0CQQCeS84lODlC0Y2BZv2JxW3Osv/WkUQ4dslfAQl1T303
7uwwr7XTroMv8dIFQIPreoPhRKmd/SbJzbiKfS/4QDhU
-----END RSA PRIVATE KEY-----
"""

AWS_CLI_CANNED = (
    "UiEmtMsInU-gXoa1O7-bTRJmZ~ocphB0ONMxyEHs2r8Y9dwzeB~DkbgzPMX3jbdb"
    "wIwVX3f4VcY4HBLdPSkbF~D6KbUlxPw1ju8mlXeu2C436XxZdrJrrJaiEDaTpKsl"
    "Xpn9ngaCzVfCVPfkC3a0NBWBySi5ezCG2yzb0c-djNgI1wkogwtmtZuOxAoKF1sR"
    "TyFX9ZitUiUIl~65nkJ94s~GGwxzTf1kMi7Wdm~9rFrJpx0O7nJEBy5O578s2UHr"
    "ejtwyedUR5BqXTkgu~A51NcjAN9LErATV7SVBYicoZ76AOfB-TKay7g6-MWCK6-T"
    "-4Q5x6XH4yzII3JpbCmVwA__"
)

AWS_CLI_CUSTOM = (
    "Vw-WG18WJJXim7YSGWS-zW~XmFB9MjCDOvgC~2Gz-1wiMQzCrXzYYbSE7-aF6JGO"
    "Ob5ewArpMqmu2g5mohnqgieZX1NY6IOteDoXYgqaNj1DafHWQD6UJ3IKVfkxISU9"
    "OmFPoG7H~VSPWEzOxdjOqdIPvAU2pW2mJ5oWu2aL62s0VVtLGCAm-DahiSQisl0J"
    "bzpPyG1pofvPbT75qc71r9uiqSAbPjUF5nmLCZazVnFjDkj3zIgMRYa5aV54VDa6"
    "-wEizzmjQ3-m6UMoYgcGHQXEjoFIWTfpZvbZBYkmK9lk3d16cgvaHafTJ-CPegn1"
    "bKxfgNEjSAoPWS0OvBkRmg__"
)

CDN = "https://d111111abcdef8.cloudfront.net"
END = 1767290400

SHARED_CASES = [
    (
        Policy(f"{CDN}/image.jpg", END),
        (
            "iONoMLnhiCy9q1~WB9GkR2DiHz18I85i3o6kZ64REf-fCSOg-AyXEZiq7fJuS~DT-kbZXjVpgIQqI4sCTcBW9XpO6dyJ5sh8Igk3V~OVncS9"
            "acGVnI~ZhHBWiGhU8GmkEMAhn6R2RGO-wKGClrXdJGEUE26XoALdHUzHbmU6AGI_"
        ),
        (
            "LiC~LakvNvZtR~AsTcirQ0CAsy-YIZmpHmI9uImK4xJmrhVdJULhWmRt3bXO7qqw2gJDECZN-xC~bKWEKcJ9Vgs1IgpRdMkY6XGDKZ1XHBdN"
            "bd~0v5UiRf4zXwVMRqoynkQPQcihkze7RkDBsOoYHh9jDdtO1iDm0QZ1Qp~cxro_"
        ),
    ),
    (
        Policy(f"{CDN}/image.jpg?size=large", END),
        (
            "kx5dxV5cSW50EuCMtYi9JI0D5H97if~zNqwKxZtS7FPc3NV5oi~zCb45ti8ve-YDYw45hzN4lceF6zhW~STVWa7r7fC9wi5XBG1T6ZT2b9R0"
            "wMWmGxsy9uVGXFn6JqcjQMsq09MnWrPezK0qFQ2X6pV1nGQqLQZ2sgO~FSlEoCo_"
        ),
        (
            "g8vzqbTu5PxBzAXD3zowGFNHNlyaGZn7thMiCk27sTfvdy5CMAbECVz-aucgqrKYmqsz1xY7ZoxoMxOizzXWzfzTyJ6k38YwW6QMyJWT7B8p"
            "HStQrq0DGFSCnXqgRDXUDzkpIe8mHqyRWtgnFbdFQlbPweykfl7Eo4RJadveryQ_"
        ),
    ),
    (
        Policy(f"{CDN}/video.mp4", END, starts=1767200000),
        (
            "aF0WSOV6dkNn-D0HJ~-EwLG69-4QZZ9dv1PgAZEsER~WXkaNa1pBM2aTVXrskBWVHUU6hc1nD6ZKYgBS5Sb9JluFVT0MbQWR~DrtUGu8ugCs"
            "nfzUe6ov38nFPBwQICY~jnoQZEXxO2ZkQrluOO4~jWOpqAGrCw5tkdHAnb9gHYQ_"
        ),
        (
            "RKoXpBb3IFyONXBnGGPj6021LmYyaphTYom0DsDID20xlCaK8gvNpcbYw493LloPhtDdGTdyadyuR59ok8eSPpJReRGbHbw8FDjGSXE9JWsV"
            "ayzI7t7ZPGfPtKgK~ij0AekXDNQNFNUdwuSE0aR5nQmuPhw7CfDHCMpTWmoKPgE_"
        ),
    ),
    (
        Policy(f"{CDN}/document.pdf", END, ip="192.168.0.0/24"),
        (
            "fq~vePR~kmc5kWDveZOJ3j6PSYRsHSSanN1shBBpj2rQwvVQPU8e9MRwUDizOYHLnuAXQG89Xm7kXL03HIX0uzELcY2Q6Bw68BcGQHq-nyC2"
            "U6h0Uv277pg~FIwatR84y1FZiswIVmZwfPmpkvR0X~1skuooCPGiztAXREe-hsg_"
        ),
        (
            "aKDzeIIfHviQRbCu9jxlFpOenTNQHMnt8HL2V2cqYP0vqc-KpRBuez2k4LZAzmfH0sIiQuDMZZc1D149XYRVAjEZoqr3vzGzWmrpzZJV-CSH"
            "s-Scau1cCNdVXqswj~QX8SzOZtGsRSKb4bomqOWxSIUu~Sybjf5b12GXBcYRCH4_"
        ),
    ),
    (
        Policy(f"{CDN}/images/*", END),
        (
            "nP~GtuBVUSEUDMXW1ZTGTx~BUQfjl7FsWBQBKwnTNhHlBAeYlzdbMGMphViPQbjawdYt1Z~iBHDr0ctooQyhEdsXwZPQKmRJQm3yIxmbvnuC"
            "zB2qdMDVGRKH8l3PnfAJErrgUVIzb6m3KUdtIDvSkLV~Mb0tyQJwZ6QE4BdlEmQ_"
        ),
        (
            "FoaoRDqA7H91xD8CL2zk2Ztm6WVx3kIunCdqvzwMCUdsduwVWEH8elbBZc2qqWy3ZixDBBEHegeJnZbgp~nHTsYtr~jv6R-8~BnmmvH3KNyj"
            "H7wgyKKtzKpteNXYacWgHYabkoreyHC4ek~JMjGo1o0gTiIeL8YCV3ueKK3Lqtk_"
        ),
    ),
    (
        Policy(f"{CDN}/*", END, ip="10.0.0.0/8"),
        (
            "r28Jnd0t9aq7cu0k9jGWl4L0YsRxgueZtGRw5oEEspU9-eIPGM~ZGMQh36~5HpKC5c67cZjDgJcsqrCacmTHMZZx613gbeYAsx2-hEatU8UR"
            "iuNHnVp4hPV3HqtbuZ6Din9iEZUpOBYVg6DWGEFJRCQ7SPouBhhJdYDZZOPHGpA_"
        ),
        (
            "OzeonPh-NS8g3trdsFAo5LrMBEx1ef05GvdmWuLai6AaBLP63PVJRUGySYmGfQ-NqQ02geWzo7aZS7XFtkr4X1z9VTbQMfmzZftbuRXoP5ZD"
            "hFzVnSX3DeoEW8jP3BrOLHJsKwFCY5alIR4zO6LpqFmR5vVmqMYpRcbafg3~X18_"
        ),
    ),
]

GUIDE_CANNED = (
    "Nql641NHEUkUaXQHZINK1FZ~SYeUSoBJMxjdgqrzIdzV2gyEXPDNv0pYdWJkflDKJ3xIu7lbwRpSkG98NBlgPi4ZJpRRnVX4kXAJK6td"
    "Nx6FucDB7OVqzcxkxHsGFd8VCG1BkC-Afh9~lOCMIYHIaiOB6~5jt9w2EOwi6sIIqrg_"
)

GUIDE_WILDCARD_POLICY = (
    b"{ \n"
    b'   "Statement": [{ \n'
    b'      "Resource":"http://d604721fxaaqy9.cloudfront.net/training/*", \n'
    b'      "Condition":{ \n'
    b'         "IpAddress":{"AWS:SourceIp":"145.168.143.0/24"}, \n'
    b'         "DateLessThan":{"AWS:EpochTime":1258237200}      \n'
    b"      } \n"
    b"   }] \n"
    b"}\n"
)

GUIDE_WILDCARD_ENCODED = (
    "eyAKICAgIlN0YXRlbWVudCI6IFt7IAogICAgICAiUmVzb3VyY2UiOiJodHRwOi8vZDYwNDcyMWZ4YWFxeTkuY2xvdWRmcm9udC5uZXQv"
    "dHJhaW5pbmcvKiIsIAogICAgICAiQ29uZGl0aW9uIjp7IAogICAgICAgICAiSXBBZGRyZXNzIjp7IkFXUzpTb3VyY2VJcCI6IjE0NS4x"
    "NjguMTQzLjAvMjQifSwgCiAgICAgICAgICJEYXRlTGVzc1RoYW4iOnsiQVdTOkVwb2NoVGltZSI6MTI1ODIzNzIwMH0gICAgICAKICAg"
    "ICAgfSAKICAgfV0gCn0K"
)

GUIDE_WILDCARD_SIGNATURE = (
    "cPFtRKvUfYNYmxek6ZNs6vgKEZP6G3Cb4cyVt~FjqbHOnMdxdT7eT6pYmhHYzuDsFH4Jpsctke2Ux6PCXcKxUcTIm8SO4b29~1QvhMl-"
    "CIojki3Hd3~Unxjw7Cpo1qRjtvrimW0DPZBZYHFZtiZXsaPt87yBP9GWnTQoaVysMxQ_"
)


def small_key(pem: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def sign(key: PrivateKey, text: bytes, hash_algorithm: HashAlgorithm = "SHA1") -> str:
    return b64_encode(raw_signature(key, text, hash_algorithm))


def test_aws_cli_canned() -> None:
    """RSA-2048 over a canned policy gives aws-cli's signature."""
    key = load_private_key(AWS_CLI_RSA_2048)
    assert sign(key, canned_policy("http://example.com/hi", 1451606400)) == AWS_CLI_CANNED


def test_aws_cli_custom() -> None:
    """RSA-2048 over a custom policy gives aws-cli's signature, in the URL that our signer makes."""
    key = load_private_key(AWS_CLI_RSA_2048)
    signer = CloudFrontSigner("http://example.com", "my_id", key, clock=lambda: 1451606400 - 60)
    url = signer.sign_url("hi", expires_in=60, ip="12.34.56.78").url
    assert url.startswith("http://example.com/hi?Policy=")
    assert url.endswith(f"&Signature={AWS_CLI_CUSTOM}&Key-Pair-Id=my_id")


def test_aws_cli_canned_is_accepted() -> None:
    """Our verifier takes aws-cli's canned URL as CloudFront does."""
    public = load_private_key(AWS_CLI_RSA_2048).public_key()
    verifier = Verifier({"my_id": public}, clock=lambda: 1451606399)
    verifier.check(
        f"http://example.com/hi?Expires=1451606400&Signature={AWS_CLI_CANNED}&Key-Pair-Id=my_id", ip="192.0.2.1"
    )


@pytest.mark.parametrize(("policy", "sha1", "sha256"), SHARED_CASES, ids=lambda case: getattr(case, "resource", ""))
def test_aws_cli_shared_cases(policy: Policy, sha1: str, sha256: str) -> None:
    """Canned, custom and wildcard policies give the signatures of AWS's cases for all SDKs, with either hash."""
    key = small_key(AWS_CLI_RSA_1024)
    assert sign(key, encode_policy(policy), "SHA1") == sha1
    assert sign(key, encode_policy(policy), "SHA256") == sha256


def test_the_guides_canned_policy() -> None:
    """The example of Amazon's guide, as boto 2 tests it."""
    url = "http://d604721fxaaqy9.cloudfront.net/horizon.jpg?large=yes&license=yes"
    assert sign(small_key(BOTO_RSA_1024), canned_policy(url, 1258237200)) == GUIDE_CANNED


def test_the_guides_wildcard_policy() -> None:
    """The wildcard example of Amazon's guide, white space included, as boto 2 tests it."""
    assert b64_encode(GUIDE_WILDCARD_POLICY) == GUIDE_WILDCARD_ENCODED
    assert sign(small_key(BOTO_RSA_1024), GUIDE_WILDCARD_POLICY) == GUIDE_WILDCARD_SIGNATURE


def test_the_guides_wildcard_url_is_accepted() -> None:
    """Our verifier opens a file below the guide's wildcard, for its network and in its time."""
    verifier = Verifier({"PK123456789754": small_key(BOTO_RSA_1024).public_key()}, clock=lambda: 1258237199)
    policy = verifier.check(
        "http://d604721fxaaqy9.cloudfront.net/training/orientation.pdf"
        f"?Policy={GUIDE_WILDCARD_ENCODED}&Signature={GUIDE_WILDCARD_SIGNATURE}&Key-Pair-Id=PK123456789754",
        ip="145.168.143.9",
    )
    assert policy.resource == "http://d604721fxaaqy9.cloudfront.net/training/*"


def test_both_forms_of_an_ecdsa_key_are_one_key() -> None:
    """SEC 1 and PKCS #8 hold the same P-256 key."""
    first, second = load_private_key(AWS_CLI_P256_SEC1), load_private_key(AWS_CLI_P256_PKCS8)
    assert public_key_pem(first) == public_key_pem(second)


@pytest.mark.parametrize("pem", [AWS_CLI_RSA_1024, BOTO_RSA_1024])
def test_small_keys_are_refused_where_keys_are_loaded(pem: str) -> None:
    """CloudFront no longer takes 1,024 bits."""
    with pytest.raises(InvalidKeyPairError, match="RSA of 1024 bits"):
        load_private_key(pem)


def test_botocore_makes_the_same_url() -> None:
    """For a wildcard custom policy, botocore's signer and ours make the same URL."""
    key = load_private_key(AWS_CLI_RSA_2048)
    ours = CloudFrontSigner(CDN, "K2JCJMDEHXQW5F", key, clock=lambda: END - 600).sign_prefix(
        "outputs/exec_1", expires_in=600, ip="192.0.2.0/24"
    )
    policy = encode_policy(Policy(f"{CDN}/outputs/exec_1/*", END, ip="192.0.2.0/24"))
    theirs = BotocoreSigner("K2JCJMDEHXQW5F", lambda text: raw_signature(key, text, "SHA1")).generate_presigned_url(
        f"{CDN}/outputs/exec_1/*", policy=policy.decode()
    )
    assert ours.url == theirs
