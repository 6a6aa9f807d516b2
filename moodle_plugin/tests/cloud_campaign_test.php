<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

namespace local_manireports;

use local_manireports\cloud\campaign_audience;
use local_manireports\cloud\campaign_outbox;
use local_manireports\cloud\campaign_text;
use local_manireports\cloud\campaigns;
use local_manireports\external\cloud_campaign_audience;
use local_manireports\external\cloud_campaign_preview;
use local_manireports\external\cloud_campaign_test as test_service;

defined('MOODLE_INTERNAL') || die();

require_once(__DIR__ . '/cloud_companies.php');

/**
 * Reminders: who gets them, how they read, that they are sent once.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 * @covers    \local_manireports\cloud\campaigns
 * @covers    \local_manireports\cloud\campaign_audience
 * @covers    \local_manireports\cloud\campaign_text
 * @covers    \local_manireports\cloud\campaign_letter
 * @covers    \local_manireports\cloud\campaign_outbox
 */
final class cloud_campaign_test extends \advanced_testcase {
    use cloud_companies;

    protected function setUp(): void {
        parent::setUp();
        $this->resetAfterTest();
        $this->setAdminUser();
    }

    /**
     * Those who are away for long enough, and nobody else.
     */
    public function test_audience(): void {
        global $DB;
        $course = $this->getDataGenerator()->create_course();
        $other = $this->getDataGenerator()->create_course();
        $never = $this->student($course);
        $away = $this->student($course);
        $here = $this->student($course);
        $this->student($course, 5);
        $this->student($course, 100, ['suspended' => 1]);
        $this->student($course, 100, ['auth' => 'nologin']);
        $twice = $this->student($other);
        foreach ([$away->id => 40, $here->id => 3] as $user => $days) {
            $DB->insert_record('user_lastaccess', (object)[
                'userid' => $user, 'courseid' => $course->id, 'timeaccess' => time() - $days * DAYSECS,
            ]);
        }
        $ended = $this->student($course);
        $DB->set_field('user_enrolments', 'timeend', time() - 10, ['userid' => $ended->id]);
        $teacher = $this->getDataGenerator()->create_user();
        $sink = $this->redirectEvents();
        $this->getDataGenerator()->enrol_user($teacher->id, $course->id, 'teacher', 'manual', 1);
        $sink->close();
        $DB->set_field('user_enrolments', 'timecreated', 1, ['userid' => $teacher->id]);

        $audience = new campaign_audience(0, [$course->id], 30);
        $this->assertSame(2, $audience->count());
        $this->assertEquals([$never->id, $away->id], array_column($audience->first(10), 'userid'));
        $this->assertSame(3, (new campaign_audience(0, [], 30))->count());
        $this->assertSame(1, (new campaign_audience(0, [], 50))->first(9, $twice->id, $other->id) ? 1 : 0);
        $this->assertSame([], $audience->first(1, $here->id, $course->id));
        $this->assertSame(0, $audience->count_suppressed());
        $DB->insert_record('manireports_cloud_suppressions', (object)[
            'email' => \core_text::strtolower($never->email), 'company_id' => 0, 'scope' => 'campaigns', 'reason' => 'unsubscribe',
        ]);
        $this->assertSame(1, $audience->count_suppressed());
    }

    /**
     * A campaign and its outbox are made at once, once, and the log is told.
     */
    public function test_create(): void {
        global $DB, $USER;
        $course = $this->getDataGenerator()->create_course();
        $student = $this->student($course);
        $sink = $this->redirectEvents();
        $audience = new campaign_audience(0, [$course->id], 30);
        $made = campaigns::create($audience, new campaign_text('Hi', '<p>x</p>'), 0, false, 'onewish');
        $this->assertSame(1, $made->count);
        $campaign = $DB->get_record('manireports_cloud_campaigns', ['id' => $made->id]);
        $this->assertSame(['reengagement', 'queued', 'Hi', '<p>x</p>', (string)$USER->id], [
            $campaign->type, $campaign->status, $campaign->subject, $campaign->body, $campaign->created_by,
        ]);
        $row = $DB->get_record('manireports_cloud_outbox', ['campaign_id' => $made->id]);
        $this->assertEquals([$student->id, $course->id, '', 'waiting', null], [
            $row->userid, $row->course_id, $row->email, $row->status, $row->data,
        ]);
        $events = array_filter($sink->get_events(), fn($e) => $e instanceof event\reengagement_campaign_triggered);
        $this->assertCount(1, $events);
        $this->assertSame(1, reset($events)->other['count']);
        // A double click.
        $again = campaigns::create($audience, new campaign_text('Hi', '<p>x</p>'), 0, false, 'onewish');
        $this->assertEquals([$made->id, 1], [$again->id, $again->count]);
        $this->assertSame(1, $DB->count_records('manireports_cloud_campaigns'));
        $this->assertSame(1, $DB->count_records('manireports_cloud_outbox'));
        // Another wish with the same words is another campaign.
        campaigns::create($audience, new campaign_text('Hi', '<p>x</p>'), 0, false, 'otherwish');
        $this->assertSame(2, $DB->count_records('manireports_cloud_campaigns'));
    }

    /**
     * With nobody to write to there is no campaign either.
     */
    public function test_nobody(): void {
        $course = $this->getDataGenerator()->create_course();
        $this->expectException(\moodle_exception::class);
        $this->expectExceptionMessage(get_string('cloudcampaignnobody', 'local_manireports'));
        campaigns::create(new campaign_audience(0, [$course->id], 30), new campaign_text('', ''), 0, false, 'w');
    }

    /**
     * A draft is edited, sent or deleted; what moves is not touched.
     */
    public function test_life(): void {
        global $DB;
        $course = $this->getDataGenerator()->create_course();
        $this->student($course);
        $audience = new campaign_audience(0, [$course->id], 30);
        $id = campaigns::create($audience, new campaign_text('Hi', 'x'), 0, true)->id;
        $status = fn() => $DB->get_field('manireports_cloud_campaigns', 'status', ['id' => $id]);
        $this->assertSame('draft', $status());
        campaigns::edit($id, new campaign_text('Hello', 'y'), time() + 3600);
        $this->assertSame(1, (new campaign_outbox(campaigns::read($id)))->count());
        $this->assertSame(1, campaigns::queue($id));
        $this->assertSame('queued', $status());
        $this->assertGreaterThan(time() + 3500, campaigns::read($id)->send_at);
        foreach (['edit' => [$id, new campaign_text('', ''), 0], 'queue' => [$id], 'delete' => [$id]] as $what => $args) {
            try {
                campaigns::$what(...$args);
                $this->fail($what);
            } catch (\moodle_exception $error) {
                $this->assertSame('cloudcampaignmoved', $error->errorcode);
            }
        }
        $this->assertSame(0, campaigns::cancel($id));
        $this->assertSame('cancelled', $status());
        $this->assertSame(1, $DB->count_records('manireports_cloud_outbox', ['campaign_id' => $id, 'status' => 'cancelled']));

        $running = campaigns::create($audience, new campaign_text('Hi', 'x'), 0, false)->id;
        $DB->update_record('manireports_cloud_campaigns', (object)['id' => $running, 'status' => 'running', 'job_id' => 7]);
        $request = $DB->get_record('manireports_cloud_requests', ['id' => campaigns::cancel($running)]);
        $this->assertSame('campaign_cancel', $request->action);
        $this->assertSame(['campaign' => (int)$running], json_decode($request->params, true));
        $this->assertSame(1, $DB->count_records('manireports_cloud_outbox', ['campaign_id' => $running, 'status' => 'waiting']));

        $draft = campaigns::create($audience, new campaign_text('Hi', 'x'), 0, true)->id;
        campaigns::delete($draft);
        $this->assertFalse($DB->record_exists('manireports_cloud_outbox', ['campaign_id' => $draft]));
        $this->assertSame(2, campaigns::count());
    }

    /**
     * Placeholders, as the sidecar fills them in.
     */
    public function test_text(): void {
        $values = ['firstname' => 'A<b>"', 'lastname' => "x\r\ny{firstname}", 'coursename' => 'C & D'];
        $text = new campaign_text(" Hi {firstname}\n{lastname} ", '<p class="{x}">{firstname} {{firstname}} {coursename} { }</p>');
        $mail = (new campaign_text($text->subject, str_replace('{x}', 'y', $text->body)))->render($values);
        $this->assertSame('Hi A<b>" x y{firstname}', $mail->subject);
        $this->assertSame('<p class="y">A&lt;b&gt;&quot; {firstname} C &amp; D { }</p>', $mail->body);
        $this->assertArrayHasKey('body', $text->complaints());
        $this->assertSame([], (new campaign_text('', ''))->complaints());
        $this->assertArrayHasKey('subject', (new campaign_text(str_repeat('x', 256), ''))->complaints());
        $css = new campaign_text('x', '<style>a{color:red} b { top: 0 }</style>');
        $this->assertSame([], $css->complaints());
    }

    /**
     * A preview and a test mail are filled in for a student of the audience, and for nobody else.
     */
    public function test_preview(): void {
        global $DB, $USER;
        unset_config('noemailever');
        $course = $this->getDataGenerator()->create_course(['fullname' => 'Fire & Rescue']);
        $student = $this->student($course, 100, ['firstname' => 'Änna']);
        $elsewhere = $this->getDataGenerator()->create_user();
        $args = fn($subject, $userid) => [
            0, 0, [(int)$course->id], 30, true, $subject, '<p>{coursename}, {lastaccess}</p>', (int)FORMAT_HTML, (int)$userid,
            (int)$course->id,
        ];
        $mail = cloud_campaign_preview::execute(...$args('Dear {firstname}', $student->id));
        $this->assertSame('Dear Änna', $mail['subject']);
        $this->assertSame('<p>Fire &amp; Rescue, never</p>', $mail['body']);
        $DB->insert_record('manireports_cloud_templates', (object)[
            'name' => 'reengagement', 'lang' => 'en', 'subject' => 'Ours {firstname}',
        ]);
        $site = cloud_campaign_preview::execute(0, 0, [(int)$course->id], 30, false, '', '', 1, 0, 0);
        $this->assertSame('Ours Änna', $site['subject']);
        $this->assertStringContainsString('Fire &amp; Rescue', $site['body']);
        $sink = $this->redirectEmails();
        $this->assertTrue(test_service::execute(...$args('Dear {firstname}', $student->id))['sent']);
        $this->assertFalse(test_service::execute(...$args('Dear {firstname}', $student->id))['sent']);
        $messages = $sink->get_messages();
        $this->assertCount(1, $messages);
        $this->assertSame($USER->email, $messages[0]->to);
        foreach ([$args('x', $elsewhere->id), $args('{nonsense}', $student->id)] as $wrong) {
            try {
                cloud_campaign_preview::execute(...$wrong);
                $this->fail($wrong[5]);
            } catch (\moodle_exception $error) {
                $this->assertStringStartsWith('cloudcampaign', $error->errorcode);
            }
        }
    }

    /**
     * A company manager writes to the own company's users in its courses, and sees no campaign of another.
     */
    public function test_isolation(): void {
        global $DB;
        $acme = $this->company('acme');
        $globex = $this->company('globex');
        $mine = $this->getDataGenerator()->create_course();
        $theirs = $this->getDataGenerator()->create_course();
        $DB->insert_record('company_course', (object)['companyid' => $acme->id, 'courseid' => $mine->id, 'departmentid' => 0]);
        $DB->insert_record('company_course', (object)['companyid' => $globex->id, 'courseid' => $theirs->id, 'departmentid' => 0]);
        $member = $this->student($mine);
        $this->join($acme->id, $member->id);
        $stranger = $this->student($mine);
        $this->join($globex->id, $stranger->id);
        $abroad = $this->student($theirs);
        $this->join($acme->id, $abroad->id);
        $theirstudent = $this->student($theirs);
        $this->join($globex->id, $theirstudent->id);
        $text = new campaign_text('Hi', 'x');
        $foreign = campaigns::create(new campaign_audience($globex->id, [], 30), $text, 0, true)->id;

        $this->setUser($acme->manager);
        foreach ([[], [$mine->id, $theirs->id], [$mine->id]] as $courses) {
            $audience = new campaign_audience($acme->id, $courses, 30);
            $this->assertEquals([$member->id], array_column($audience->first(10), 'userid'));
        }
        $this->assertSame(0, (new campaign_audience($acme->id, [$theirs->id], 30))->count());
        $this->assertSame([(int)$mine->id], array_keys(campaign_audience::course_names($acme->id)));
        $own = campaigns::create(new campaign_audience($acme->id, [$theirs->id, $mine->id], 30), $text, 0, true);
        $this->assertSame(1, $own->count);
        $this->assertEquals([$own->id], array_keys(campaigns::page(0, 10)));
        $forbidden = [
            fn() => campaigns::create(new campaign_audience($globex->id, [], 30), $text, 0, true),
            fn() => campaigns::create(new campaign_audience(0, [], 30), $text, 0, true),
            fn() => campaigns::read($foreign),
            fn() => campaigns::edit($foreign, $text, 0),
            fn() => campaigns::queue($foreign),
            fn() => campaigns::cancel($foreign),
            fn() => campaigns::delete($foreign),
            fn() => cloud_campaign_audience::execute(0, $globex->id, [], 30),
            fn() => cloud_campaign_audience::execute(0, 0, [], 30),
            fn() => cloud_campaign_audience::execute((int)$foreign, 0, [], 30),
            fn() => cloud_campaign_preview::execute(0, $acme->id, [], 30, false, '', '', 1, (int)$stranger->id, (int)$mine->id),
        ];
        foreach ($forbidden as $number => $try) {
            try {
                $try();
                $this->fail("try $number");
            } catch (\moodle_exception $error) {
                $this->assertContains($error->errorcode, ['nopermissions', 'cloudnocampaign', 'cloudcampaignnobody']);
            }
        }
        $this->assertSame('draft', $DB->get_field('manireports_cloud_campaigns', 'status', ['id' => $foreign]));
    }
}
