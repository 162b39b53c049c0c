// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer.Reporting;

[TestFixture]
internal sealed partial class ReportPageTests
{
    private string _folder = "";
    private string[] _runs = [];

    [OneTimeSetUp]
    public void WriteRuns()
    {
        _folder = Directory.CreateTempSubdirectory("himo-report-").FullName;
        _runs = SampleRuns.Write(_folder);
    }

    [OneTimeTearDown]
    public void DeleteRuns() => Directory.Delete(_folder, recursive: true);

    [TestCase(500)] // Chromium's narrowest window
    [TestCase(1280)]
    public void Every_chart_is_drawn_without_a_console_message(int width)
    {
        string page = Write("page.html", _runs, Benchmarks());

        Chromium seen = Chromium.Open(page, width);

        int panels = PanelStart().Count(File.ReadAllText(page));
        Assert.Multiple(() =>
        {
            Assert.That(seen.Console, Is.Empty);
            Assert.That(panels, Is.EqualTo(2 + 4 + 2 + 2 + 6 + 2 + 6 + 8 + 2 + 1), "panels of the ten figures");
            Assert.That(seen.Document, Does.Contain($"data-drawn=\"{panels}\""));
            Assert.That(MainSvg().Count(seen.Document), Is.GreaterThanOrEqualTo(panels), "every panel holds a drawing");
            Assert.That(TracePath().Count(seen.Document), Is.GreaterThanOrEqualTo(panels), "and a drawn line or bar in it");
            Assert.That(seen.Document.Contains("<p class=\"hint\">", StringComparison.Ordinal), Is.EqualTo(width == 500), "the hint to scroll stands where a table does not fit");
        });
    }

    /// <summary>In a frame, because Chromium's own windows are not as narrow as a phone.</summary>
    [Test]
    public void Phone_shows_the_first_base_whole_and_scrolls_nothing_but_tables()
    {
        _ = Write("phone.html", _runs, Benchmarks());
        string frame = Path.Combine(_folder, "frame.html");
        File.WriteAllText(frame, """
            <!doctype html><iframe src="phone.html" style="border:0;width:390px;height:800px"></iframe><pre></pre>
            <script>
            const look = () => {
              const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
              if (!root.dataset.drawn) { setTimeout(look, 50); return; }
              const outside = [...page.querySelectorAll("body *")].filter((one) => !one.closest(".wide") && one.getBoundingClientRect().right > 390.5);
              const right = (one) => Math.round(one.getBoundingClientRect().right);
              const table = page.querySelector("#results .wide");
              document.querySelector("pre").textContent = JSON.stringify({
                page: root.scrollWidth, outside: outside.map((one) => one.outerHTML.slice(0, 80)), scrolls: table.scrollWidth > table.clientWidth,
                hint: !page.querySelector("#results .hint").hidden, edge: right(table), firstBase: right(page.querySelector("#results td.loss")),
                names: getComputedStyle(page.querySelector("#results tbody tr:not(.section) th")).position });
            };
            onload = look;
            </script>
            """);

        Chromium seen = Chromium.Open(frame, 500);
        JsonNode measures = JsonNode.Parse(System.Net.WebUtility.HtmlDecode(Measures().Match(seen.Document).Groups[1].Value))!;

        Assert.Multiple(() =>
        {
            Assert.That((int)measures["page"]!, Is.LessThanOrEqualTo(390), "the page itself does not scroll sideways");
            Assert.That(measures["outside"]!.AsArray(), Is.Empty, "nothing sticks out");
            Assert.That((bool)measures["scrolls"]!, Is.True, "two bases do not fit");
            Assert.That((bool)measures["hint"]!, Is.True, "so the page says so");
            Assert.That((int)measures["firstBase"]!, Is.LessThanOrEqualTo((int)measures["edge"]!), "before, plain, HiMo and their difference stand there at first sight");
            Assert.That((string?)measures["names"], Is.EqualTo("sticky"), "the names of the rows stay");
        });
    }

    [Test]
    public void Short_bars_say_their_number()
    {
        string html = File.ReadAllText(Write("bars.html", _runs, Benchmarks()));
        string time = Part(html, "time"), fused = Part(html, "fused");
        Assert.Multiple(() =>
        {
            Assert.That(time, Does.Contain("3.0 ms \\u00B7 1.5 %").And.Contain("5.0 ms \\u00B7 2.5 %").And.Contain("200 ms in all"), "3 and 5 of 200 ms");
            Assert.That(fused, Does.Contain("\"x\":[2.5,3]").And.Contain("\"text\":[\"2.5 ms\",\"6 ms\"]"), "multiples of the fused time, labelled with the time");
        });
    }

    [Test]
    public void Examples_mark_falls_and_give_each_pictures_correlation()
    {
        string html = Part(File.ReadAllText(Write("examples.html", _runs, null)), "examples");
        Assert.Multiple(() =>
        {
            // Before: 0.31, then 0.06; plain: 0.31, 0.36; HiMo: 0.31, 0.46. Two captions correlate with 1, 2 by -1 or 1.
            Assert.That(Fall().Count(html), Is.EqualTo(1));
            Assert.That(html, Does.Contain("</b><b>0.060</b>").And.Contain("<tr><td>HiMo@2</td><td>−1.00</td><td>1.00</td><td>1.00</td></tr>"));
        });
    }

    [Test]
    public void Every_figure_has_titles_units_and_a_sentence()
    {
        foreach (Figure figure in ReportFigures.All(RunGroup.From([.. _runs.Select(RunFolder.Read)]), []))
        {
            Assert.That(figure.Title, Is.Not.Empty);
            Assert.That(figure.Caption, Does.EndWith("."), figure.Title);
            Assert.That(figure.Panels.Select(panel => panel.XTitle), Has.All.Not.Empty, figure.Title);
            Assert.That(figure.Panels.Where(panel => panel.Traces[0]!["type"] is null).Select(panel => panel.YTitle), Has.All.Not.Empty, $"{figure.Title}: a chart that is no bars");
        }
    }

    [Test]
    public void Evaluations_during_training_are_a_figure_and_a_table()
    {
        string html = Part(File.ReadAllText(Write("progress.html", _runs, null)), "progress");
        Assert.That(html, Does.Contain("<details><summary>The same as a table</summary>").And.Contain("demo-base-1, HiMo</span>").And.Match("<tr><th scope=\"row\">0</th><td>\\d+\\.\\d</td>"));
    }

    [Test]
    public void Spectra_of_batches_are_shown_from_the_first_to_the_last()
    {
        string run = Directory.CreateDirectory(Path.Combine(_folder, "spectra")).FullName;
        File.Copy(Path.Combine(_runs[1], "config.json"), Path.Combine(run, "config.json"));
        File.WriteAllLines(Path.Combine(run, "log.jsonl"), [.. File.ReadLines(Path.Combine(_runs[1], "log.jsonl")), .. Enumerable.Range(1, 5).Select(i => $$"""{"kind":"spectrum","step":{{20 * i}},"values":[{{i}},1,0]}""")]);
        JsonArray traces = ReportFigures.All(RunGroup.From([RunFolder.Read(run)]), []).Single(figure => figure.Id == "spectra").Panels.Single().Traces;
        Assert.That(
            traces.Select(trace => $"{((string)trace!["name"]!).Split(", ")[^1]}: {trace["y"]!.ToJsonString()} {trace["line"]!["dash"]}"),
            Is.EqualTo(new[] { "step 20: [50,100,100] dot", "step 60: [75,100,100] dash", "step 100: [83.3333,100,100] solid" }));
    }

    [Test]
    public void Results_of_published_sets_stand_beside_the_papers()
    {
        string run = Directory.CreateDirectory(Path.Combine(_folder, "urban")).FullName;
        File.WriteAllText(Path.Combine(run, "eval.json"), """{"checkpoint":"mine.pt","protocol":"urban1k","image_to_text_R@1":0.5,"text_to_image_R@1":0.25,"images":100,"texts":100}""");
        string html = Part(File.ReadAllText(Write("urban.html", [run], null)), "paper");
        Assert.That(html, Does.Contain("<b>mine.pt</b></th><td>50.0<small> 40.4–59.6</small></td>").And.Contain("HiMo-CLIP, L/14 <small>paper</small></th><td>93.0</td>").And.Not.Contain("short texts"));
    }

    [Test]
    public void Page_needs_nothing_from_outside()
    {
        string html = File.ReadAllText(Write("alone.html", _runs, null));

        string own = ScriptBody().Replace(html, "");
        Assert.Multiple(() =>
        {
            Assert.That(own, Does.Not.Contain("http://").And.Not.Contain("https://"));
            Assert.That(own, Does.Not.Contain("<link rel=\"stylesheet\"").And.Not.Contain(" src=\"images"));
            Assert.That(own, Does.Contain("src=\"data:image/png;base64,"));
        });
    }

    [Test]
    public void Table_shows_mean_spread_and_difference_of_the_seeds()
    {
        string html = ResultTable.Html(RunGroup.From([.. _runs.Select(RunFolder.Read)]));

        Assert.That(html, Does.Contain("<th scope=\"col\">HiMo<br>−&nbsp;plain</th>"));

        // Full captions, image to text: plain 0.9 + {0, .004, .008}, HiMo 0.88 + the same; a sample deviation of 0.4 points each, so -2 is clear.
        Assert.That(html, Does.Contain("<th scope=\"row\">full captions, image to text</th><td>96.0</td><td>90.4<small> ± 0.4</small></td><td>88.4<small> ± 0.4</small></td><td class=\"loss\">−2.0</td>"));
        // First half: no difference at all, hence neither a win nor a loss.
        Assert.That(html, Does.Contain("<th scope=\"row\">first half, image to text</th><td>60.0</td><td>60.4<small> ± 0.4</small></td><td>60.4<small> ± 0.4</small></td><td class=\"even\">+0.0</td>"));
    }

    [Test]
    public void One_seed_colours_no_difference()
    {
        string html = File.ReadAllText(Write("seed.html", [.. _runs.Where(run => run.EndsWith("seed0", StringComparison.Ordinal))], null));
        Assert.That(Part(html, "results"), Does.Contain("<td class=\"even\">−2.0</td>").And.Contain("One seed each").And.Not.Contain("class=\"win\"").And.Not.Contain("class=\"loss\""));
    }

    [Test]
    public void Text_of_captions_and_names_is_escaped()
    {
        string html = File.ReadAllText(Write("escaped.html", _runs, null));

        Assert.That(html, Does.Contain("&lt;red&gt;").And.Not.Contain("<red>"));
    }

    [Test]
    public void Runs_that_differ_in_an_option_are_groups_of_their_own()
    {
        string[] runs = SampleRuns.Write(Directory.CreateDirectory(Path.Combine(_folder, "varied")).FullName);
        string config = Path.Combine(runs.First(run => run.Contains("himo-base1-seed2", StringComparison.Ordinal)), "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"tau\":0.6", "\"tau\":0.9", StringComparison.Ordinal));

        string[] labels = [.. RunGroup.From([.. runs.Select(RunFolder.Read)]).Where(group => group.Base == "demo-base-1").Select(group => $"{group.Label}: {group.Runs.Count}")];

        Assert.That(labels, Is.EqualTo(new[] { "before: 1", "plain: 3", "HiMo, tau 0.6: 2", "HiMo, tau 0.9: 1" }));
    }

    [Test]
    public void Models_that_were_only_evaluated_stand_side_by_side()
    {
        string[] models = [.. _runs.Where(run => Path.GetFileName(run).StartsWith("base", StringComparison.Ordinal))];
        string trained = Directory.CreateDirectory(Path.Combine(_folder, "only")).FullName; // as 'himo eval' measures a run's model
        File.Copy(Path.Combine(_runs.First(run => run.Contains("himo-base1-seed0", StringComparison.Ordinal)), "eval.json"), Path.Combine(trained, "eval.json"), overwrite: true);
        string html = File.ReadAllText(Write("models.html", [.. models, trained], null));

        RunGroup[] groups = [.. RunGroup.From([.. models.Append(trained).Select(RunFolder.Read)])];
        Assert.Multiple(() =>
        {
            Assert.That(groups.Select(group => group.Label), Is.EqualTo(new[] { "demo-base-1", "demo-base-2", "himo-base1-seed0" }));
            Assert.That(groups.Select(group => ReportFigures.Color(groups, group)), Is.Unique, "each in a colour of its own");
            Assert.That(PanelStart().Count(html), Is.EqualTo(1 + 2 + 1 + 1), "one panel holds all three");
            Assert.That(html, Does.Contain("How models follow a growing caption").And.Contain("Three models side by side").And.Not.Contain("−&nbsp;plain").And.Not.Contain("A difference is coloured"));
        });
    }

    [Test]
    public void Failures_show_both_pictures_and_the_caption()
    {
        string html = File.ReadAllText(Write("failures.html", _runs, null));
        string section = Part(html, "failures");
        Assert.Multiple(() =>
        {
            Assert.That(Failure().Count(section), Is.EqualTo(4), "two of plain and two of HiMo; the base before training is left out");
            Assert.That(section, Does.Contain("<b>rank 57</b> · 0.310").And.Contain("<b>rank 1</b> · 0.400").And.Contain("the &lt;red&gt; disc"));
        });
    }

    [TestCase(36, 36, true, 36, 36)] // the demonstration's scenes
    [TestCase(96, 60, true, 96, 60)]
    [TestCase(97, 60, false, 97, 60)]
    [TestCase(1200, 800, false, 256, 170)]
    public void Photos_are_scaled_down_and_drawings_of_few_pixels_stay_sharp(int width, int height, bool sharp, int shownWidth, int shownHeight)
    {
        string root = Directory.CreateDirectory(Path.Combine(_folder, $"pictures{width}")).FullName;
        string[] runs = SampleRuns.Write(root);
        using SkiaSharp.SKBitmap picture = new(width, height);
        Random random = new(1);
        picture.Pixels = [.. Enumerable.Range(0, width * height).Select(_ => new SkiaSharp.SKColor((uint)random.Next() | 0xFF000000))];
        using SkiaSharp.SKData data = picture.Encode(SkiaSharp.SKEncodedImageFormat.Png, 100);
        File.WriteAllBytes(Path.Combine(root, "data", "eval", "images", "000000.png"), data.ToArray());
        string page = Path.Combine(root, "page.html");
        Assert.That(ReportCommand.Write(runs, null, page, "himo report"), Is.Empty);
        string html = Part(File.ReadAllText(page), "failures"), source = Picture64().Match(html).Groups[1].Value;
        Raster shown = ImageFile.Decode(Convert.FromBase64String(source), "shown", rgbFirst: true);
        Assert.That((shown.Width, shown.Height, html.Contains("class=\"pixels\"", StringComparison.Ordinal)), Is.EqualTo((shownWidth, shownHeight, sharp)));
    }

    [Test]
    public void Pictures_are_found_in_the_folder_that_the_evaluation_was_given()
    {
        string run = Directory.CreateDirectory(Path.Combine(_folder, "given")).FullName;
        JsonObject evaluation = JsonNode.Parse(File.ReadAllText(Path.Combine(_runs[0], "eval.json")))!.AsObject();
        (evaluation["data"], evaluation["image_folder"]) = ("nowhere/captions.jsonl", Path.Combine(_folder, "data", "eval"));
        File.WriteAllText(Path.Combine(run, "eval.json"), evaluation.ToJsonString());

        Assert.That(ReportCommand.Write([run], null, Path.Combine(_folder, "given.html"), "himo report"), Is.Empty);
    }

    [Test]
    public void Missing_pictures_are_named()
    {
        File.Move(Picture, Picture + ".away");
        IReadOnlyCollection<string> missing = ReportCommand.Write(_runs, null, Path.Combine(_folder, "bare.html"), "himo report");
        File.Move(Picture + ".away", Picture);

        Assert.That(missing, Is.EqualTo(new[] { "images/000000.png" }));
    }

    [Test]
    public void Wrong_input_is_one_clear_error_and_leaves_the_old_page()
    {
        string page = Write("kept.html", _runs, null);
        string before = File.ReadAllText(page);
        string broken = Directory.CreateDirectory(Path.Combine(_folder, "broken")).FullName;
        File.WriteAllText(Path.Combine(broken, "log.jsonl"), "{\"kind\":\"step\",\"step\":1}\n{\"kind\":");

        Assert.Multiple(() =>
        {
            Assert.That(() => Write("kept.html", [Path.Combine(_folder, "nowhere")], null), Throws.TypeOf<UserError>().With.Message.Contain("nowhere"));
            Assert.That(() => Write("kept.html", [_folder], null), Throws.TypeOf<UserError>().With.Message.Contain("neither log.jsonl nor eval.json"));
            Assert.That(() => Write("kept.html", [broken], null), Throws.TypeOf<UserError>().With.Message.Contain("line 2"));
            Assert.That(() => Write("kept.html", _runs, Path.Combine(_folder, "none.json")), Throws.TypeOf<UserError>().With.Message.Contain("--bench"));
            Assert.That(File.ReadAllText(page), Is.EqualTo(before));
        });
    }

    /// <summary>A section of the page.</summary>
    private static string Part(string html, string id)
    {
        int start = html.IndexOf($"<section id=\"{id}\"", StringComparison.Ordinal);
        return html[start..html.IndexOf("</section>", start, StringComparison.Ordinal)];
    }

    private string Picture => Path.Combine(_folder, "data", "eval", "images", "000000.png");

    private string Write(string name, string[] runs, string? benchmarks)
    {
        string page = Path.Combine(_folder, name);
        _ = ReportCommand.Write(runs, benchmarks, page, "himo report out/demo/runs/* --out page.html");
        return page;
    }

    private string Benchmarks()
    {
        string path = Path.Combine(_folder, "bench.json");
        File.WriteAllText(path, """
            [{"n":128,"dim":128,"fused_ms":1.0,"plain_ms":4.0,"plain_eigh_ms":2.5,"ratio":4.0,"ratio_eigh":2.5},
             {"n":128,"dim":512,"fused_ms":2.0,"plain_ms":9.0,"plain_eigh_ms":6.0,"ratio":4.5,"ratio_eigh":3.0}]
            """);
        return path;
    }

    [GeneratedRegex("<pre>(.*?)</pre>", RegexOptions.Singleline)]
    private static partial Regex Measures();

    [GeneratedRegex("<td class=\"bar\"><i[^>]*></i><b class=\"fall\"")]
    private static partial Regex Fall();

    [GeneratedRegex("<div class=\"panel\"")]
    private static partial Regex PanelStart();

    [GeneratedRegex("<svg class=\"main-svg\"")]
    private static partial Regex MainSvg();

    [GeneratedRegex("<path class=\"js-line\"|<g class=\"point\"")]
    private static partial Regex TracePath();

    [GeneratedRegex("<article class=\"failure\">")]
    private static partial Regex Failure();

    [GeneratedRegex("src=\"data:image/[a-z]+;base64,([^\"]+)")]
    private static partial Regex Picture64();

    [GeneratedRegex("<script>.*?</script>", RegexOptions.Singleline)]
    private static partial Regex ScriptBody();
}
