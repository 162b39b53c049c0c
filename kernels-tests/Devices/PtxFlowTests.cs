// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>The reader of PTX on a kernel written for it: a barrier on one of two ways, and a loop in a scope of its own.</summary>
internal sealed class PtxFlowTests
{
    private static PtxFlow Flow(string onOneWay, string behind = "") => PtxFlow.Of($$"""
        .visible .entry Kernel(
        	.param .align 8 .b8 p[8]
        )
        .maxntid 64, 1, 1
        {
        	.reg .pred	%p<2>;
        	st.shared.f32	[%rd1], %f1; // bar.sync in a comment is none
        	st.shared.f32	[%rd1+4], %f1;
        	@%p1	bra	L_2;
        L_1:
        	{{onOneWay}}
        	bra	L_3;
        L_2:
        	bar.sync	0;
        	{
        	.reg .b32 left;
        NEXT:
        mma.sync.aligned.m16n8k8 {%f1,%f2}, {%r1,%r2}; @!isDone bra NEXT;
        	}
        L_3:
        	{{behind}}
        	ld.shared.f32	%f1, [%rd1];
        L_4:
        	ld.shared.f32	%f1, [%rd1];
        	ret;
        }
        """);

    [Test]
    public void Letters_stand_in_blocks()
    {
        Assert.That(Flow("bar.warp.sync 0xffffffff;").Blocks, Is.EqualTo(new[] { "ss", "w", "b", "m", "l", "l" }));
        Assert.That(Flow("barrier.sync 0; bar.red.or.pred %p1, 0, %p2;").Summary, Is.EqualTo("s2 ro b m 2(l)"));
        Assert.That(Flow("").Letters, Is.EqualTo("ssbmll"));
    }

    [Test]
    public void A_barrier_on_one_way_guards_only_that()
    {
        (int From, int To)[] pairs = Flow("").Pairs("s", "l", without: PtxFlow.Barriers);
        Assert.That(pairs, Has.Length.EqualTo(4), "both loads behind both stores");
        Assert.That(Flow("").Instruction(pairs[0].To), Does.StartWith("ld.shared.f32"));
        Assert.That(Flow("bar.warp.sync 0xffffffff;").Pairs("s", "l", without: PtxFlow.Barriers), Is.EqualTo(pairs.Select(pair => (pair.From, pair.To + 1))), "one of a warp");
        Assert.That(Flow("bar.sync 0;").Pairs("s", "l", without: PtxFlow.Barriers), Is.Empty);
        Assert.That(Flow("", behind: "bar.sync 0;").Pairs("s", "l", without: PtxFlow.Barriers), Is.Empty);
    }

    [Test]
    public void Ways_lead_from_the_beginning_to_the_end()
    {
        Assert.That(Flow("").FromBeginning("sl", without: PtxFlow.Barriers), Has.Length.EqualTo(4));
        Assert.That(Flow("bar.sync 0;").FromBeginning("sl", without: PtxFlow.Barriers), Has.Length.EqualTo(2));
        Assert.That(Flow("").CanEnd(Flow("").Places("s"), without: "b"), Is.True);
        Assert.That(Flow("bar.sync 0;").CanEnd(Flow("bar.sync 0;").Places("s"), without: "b"), Is.False);
        Assert.That(Flow("").Pairs("m", "m", without: PtxFlow.Barriers), Has.Length.EqualTo(1), "the loop");
        Assert.That(Flow("").Pairs("l", "m", without: ""), Is.Empty);
    }
}
