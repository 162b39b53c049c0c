// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class BatchQueueTests
{
    [Test]
    public void Batches_come_in_order_and_no_more_than_wanted_wait()
    {
        int loaded = 0;
        using BatchQueue queue = new((step, _) => Numbered(step, ref loaded), first: 3, end: 9, ahead: 2);
        for (int step = 3; step < 9; step++)
        {
            int taken = step - 3;
            SpinWait.SpinUntil(() => Volatile.Read(ref loaded) >= Math.Min(6, taken + 3), TimeSpan.FromSeconds(10));
            Thread.Sleep(10); // time to read more than it may
            Assert.That(Volatile.Read(ref loaded), Is.EqualTo(Math.Min(6, taken + 3)), "two that wait and one in hand");
            Assert.That(queue.Take().Ids[0], Is.EqualTo(step));
        }

        Assert.That(queue.Take, Throws.InvalidOperationException);
    }

    [Test]
    public void A_failure_comes_after_the_batches_before_it()
    {
        int loaded = 0;
        using BatchQueue queue = new((step, _) => step == 2 ? throw new UserError("image 7 is damaged") : Numbered(step, ref loaded), first: 0, end: 9, ahead: 4);
        Assert.That((queue.Take().Ids[0], queue.Take().Ids[0]), Is.EqualTo((0L, 1L)));
        Assert.That(queue.Take, Throws.TypeOf<UserError>().With.Message.EqualTo("image 7 is damaged"));
    }

    [Test]
    public void A_reader_that_waits_ends_with_the_queue()
    {
        int loaded = 0;
        BatchQueue queue = new((step, _) => Numbered(step, ref loaded), first: 0, end: 1000, ahead: 1);
        _ = queue.Take();
        queue.Dispose();
        Assert.That(loaded, Is.LessThan(1000));
    }

    private static TrainingBatch Numbered(long step, ref int count)
    {
        Interlocked.Increment(ref count);
        return new TrainingBatch([], [step], []);
    }
}
