"""What is read off a program."""

from atbert_jax.parallel.hlo import Program

PROGRAM = """\
HloModule jit_step, input_output_alias={ {0}: (1, {}, may-alias), {1}: (2, {}, must-alias) }

%body (p: f32[10]) -> f32[10] {
  %p = f32[10]{0} parameter(0)
  ROOT %twice = f32[10]{0} add(%p, %p), backend_config={"estimated_cycles":"5"}
}

%inner (q: f32[100]) -> f32[100] {
  %q = f32[100]{0} parameter(0)
  ROOT %exp = f32[100]{0} exponential(%q)
}

ENTRY %main (a: f32[100], b: f32[10]) -> f32[10] {
  %a = f32[100]{0} parameter(0)
  %b = f32[10]{0:T(8,128)} parameter(1)
  %fused = f32[100]{0} fusion(%a), kind=kLoop, calls=%inner, metadata={op_name="jit(step)/exp"}
  %near = bf16[50]{0:T(256)S(1)} convert(%fused)
  %turned = f32[10,10]{0,1} copy(%fused)
  %half = bf16[4]{0} constant({1, 2, 3, 4})
  %conv.1 = f32[5]{0} convolution(%half, %half), metadata={op_name="conv_general_dilated"}
  %conv.2 = f32[5]{0} convolution(%a, %b), metadata={op_name="conv_general_dilated"}
  %dot = f32[5]{0} convolution(%a, %b), metadata={op_name="dot_general"}
  %start = (f32[10]{0}, f32[40]{0}) all-gather-start(%b), replica_groups={{0,1,2,3}}
  %done = f32[40]{0} all-gather-done(%start)
  %sum.1 = (f32[6]{0}, bf16[7]{0}) all-reduce(%a, %half), to_apply=%inner
  %sum.2 = bf16[8]{0} all-reduce-start(%half), to_apply=%inner
  ROOT %loop = f32[10]{0} while(%b), body=%body, backend_config={"known_trip_count":{"n":"3"}}
}
"""


def test_bytes_are_those_that_cross_instructions():
    fused, near, turned = 800, 400, 800
    sums = (24 + 14 + 400 + 8) + 16
    convolutions = (8 + 8 + 20) + 2 * (400 + 40 + 20)
    gather, loop = 40 + 160, 3 * (40 + 80)
    expected = fused + near + turned + convolutions + gather + sums + loop
    assert Program(PROGRAM).bytes_moved() == expected


def test_loops_run_as_often_as_they_tell():
    assert Program(PROGRAM).estimated_cycles() == 15


def test_what_should_not_be_there_is_found():
    program = Program(PROGRAM)
    assert program.float32_convolutions() == ["conv.2"]
    assert [x.shape for x in program.copies()] == [(10, 10)]
    assert [x.size for x in program.gathered()] == [40]
    assert [x.size for x in program.rounded_sums()] == [7, 8]
    assert program.donated() == 2


def test_an_asynchronous_gather_sends_its_result_alone():
    assert Program(PROGRAM).traffic(4)["all-gather"] == (1, 160 * 3 / 4)
