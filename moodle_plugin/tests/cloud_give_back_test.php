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

use local_manireports\cloud\give_back;

/**
 * Handing mail back without a sidecar.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(give_back::class)]
final class cloud_give_back_test extends \advanced_testcase {
    #[\Override]
    protected function setUp(): void {
        parent::setUp();
        $this->resetAfterTest();
    }

    /**
     * When the sidecar was last heard of, seconds ago, and until when its lease lasts, seconds from now.
     *
     * @param int $seen
     * @param int $lease
     */
    private function sidecar(int $seen, int $lease): void {
        global $DB;
        $DB->set_field_select('manireports_cloud_sidecar', 'last_seen', time() - $seen, '1 = 1');
        $DB->set_field_select('manireports_cloud_sidecar', 'lease_expires', time() + $lease, '1 = 1');
    }

    /**
     * Our generator.
     */
    private function generator(): \local_manireports_generator {
        return $this->getDataGenerator()->get_plugin_generator('local_manireports');
    }

    /**
     * A job of new users, each of whom has a password of ours.
     *
     * @param \stdClass[] $users
     * @param array[] $differences columns of each recipient
     */
    private function new_users_job(array $users, array $differences = []): \stdClass {
        global $DB;
        $recipients = [];
        foreach (array_values($users) as $number => $user) {
            $mark = hash('sha256', $DB->get_field('user', 'password', ['id' => $user->id]));
            $recipients[] = ($differences[$number] ?? []) + [
                'email' => $user->email,
                'userid' => $user->id,
                'source_id' => 100000 + $number,
                'source_stamp' => $user->timecreated,
                'secret' => 'sodium:x',
                'recipient_data' => json_encode(['username' => $user->username, 'password_mark' => $mark]),
            ];
        }
        return $this->generator()->create_job(['source' => 'new_users'], $recipients);
    }

    /**
     * Only when the lease has been dead for ten minutes.
     */
    public function test_possible(): void {
        global $DB;
        $this->sidecar(10, 20);
        $this->assertFalse(give_back::possible());
        $this->sidecar(590, -560);
        $this->assertFalse(give_back::possible());
        $this->sidecar(700, -640);
        $this->assertTrue(give_back::possible());
        $DB->delete_records('manireports_cloud_sidecar');
        $this->assertTrue(give_back::possible());
    }

    /**
     * Nothing moves while a sidecar leads.
     */
    public function test_a_living_sidecar_keeps_its_mail(): void {
        global $DB;
        $job = $this->new_users_job([$this->getDataGenerator()->create_user()]);
        $this->sidecar(10, 20);
        try {
            give_back::job($job->id);
            $this->fail('it must refuse');
        } catch (\moodle_exception $e) {
            $this->assertSame('cloudsidecarleads', $e->errorcode);
        }
        $this->assertSame('pending', $DB->get_field('manireports_cloud_recipients', 'status', ['job_id' => $job->id]));
    }

    /**
     * New users get another password by Moodle, unless theirs was changed or their mail may be out.
     */
    public function test_new_users(): void {
        global $DB;
        $this->sidecar(700, -640);
        $users = [];
        for ($i = 0; $i < 5; $i++) {
            $users[] = $this->getDataGenerator()->create_user();
        }
        $job = $this->new_users_job($users, [3 => ['tries' => 1], 4 => ['status' => 'processing', 'tries' => 1]]);
        $DB->set_field('user', 'password', 'changed by the user', ['id' => $users[1]->id]);
        $DB->set_field('user', 'deleted', 1, ['id' => $users[2]->id]);

        $done = give_back::job($job->id);

        $this->assertEquals((object)['returned' => 1, 'held' => 4], $done);
        $waiting = $DB->get_records_menu('user_preferences', ['name' => 'create_password'], '', 'userid, id');
        $this->assertSame([(int)$users[0]->id], array_map('intval', array_keys($waiting)));
        $fields = 'userid, status, secret, source_id';
        $mails = $DB->get_records('manireports_cloud_recipients', ['job_id' => $job->id], 'id', $fields);
        $mail = $mails[$users[0]->id];
        $this->assertSame('returned', $mail->status);
        $this->assertNull($mail->secret);
        $this->assertEquals($waiting[$users[0]->id], $mail->source_id);
        $this->assertSame('pending', $mails[$users[1]->id]->status);
        $this->assertNotNull($mails[$users[1]->id]->secret);
        $again = give_back::job($job->id);
        $this->assertEquals((object)['returned' => 0, 'held' => 4], $again);
    }

    /**
     * Reminders wait in the outbox again, and their campaign is held.
     */
    public function test_campaigns(): void {
        global $DB;
        $this->sidecar(700, -640);
        $campaign = $DB->insert_record('manireports_cloud_campaigns', (object)['type' => 'reengagement', 'status' => 'running']);
        $row = (object)['campaign_id' => $campaign, 'status' => 'claimed'];
        $first = $DB->insert_record('manireports_cloud_outbox', $row);
        $second = $DB->insert_record('manireports_cloud_outbox', $row);
        $job = $this->generator()->create_job(
            ['source' => 'campaigns'],
            [['source_id' => $first], ['source_id' => $second, 'status' => 'sent', 'tries' => 1]]
        );

        $done = give_back::job($job->id);

        $this->assertEquals((object)['returned' => 1, 'held' => 0], $done);
        $this->assertSame('waiting', $DB->get_field('manireports_cloud_outbox', 'status', ['id' => $first]));
        $this->assertSame('claimed', $DB->get_field('manireports_cloud_outbox', 'status', ['id' => $second]));
        $this->assertSame('held', $DB->get_field('manireports_cloud_campaigns', 'status', ['id' => $campaign]));
        $after = $DB->get_record('manireports_cloud_jobs', ['id' => $job->id]);
        $this->assertSame('completed', $after->status);
        $this->assertEquals(1, $after->emails_sent);
        $batch = $DB->get_record('manireports_cloud_import_batches', ['id' => $job->batch]);
        $this->assertSame(['sent', '1'], [$batch->status, (string)$batch->sent_count]);
    }

    /**
     * A row of IOMAD's queue goes back as it was, if all of its mails still wait and it still carries our mark.
     */
    public function test_iomad_mail(): void {
        global $DB;
        if (!$DB->get_manager()->table_exists('email')) {
            $this->markTestSkipped('This is no IOMAD.');
        }
        $this->sidecar(700, -640);
        $stamp = time() - 60;
        $ids = [];
        foreach ([$stamp, $stamp, $stamp + 5, null] as $sent) {
            $ids[] = $DB->insert_record('email', (object)[
                'templatename' => 'user_create',
                'modifiedtime' => $stamp,
                'sent' => $sent,
                'subject' => 's',
                'body' => 'b',
                'companyid' => 1,
                'userid' => 2,
            ]);
        }
        $recipients = [['source_id' => $ids[0], 'source_stamp' => 77, 'role' => 'manager']];
        foreach ($ids as $id) {
            $recipients[] = ['source_id' => $id, 'source_stamp' => 77];
        }
        $recipients[] = ['source_id' => $ids[1], 'source_stamp' => 77, 'role' => 'manager', 'status' => 'sent', 'tries' => 1];
        $job = $this->generator()->create_job(['created_at' => $stamp], $recipients);

        $done = give_back::job($job->id);

        $this->assertEquals((object)['returned' => 2, 'held' => 3], $done);
        $row = $DB->get_record('email', ['id' => $ids[0]]);
        $this->assertNull($row->sent);
        $this->assertEquals(77, $row->modifiedtime);
        $this->assertEquals($stamp, $DB->get_field('email', 'sent', ['id' => $ids[1]]));
        $this->assertEquals($stamp + 5, $DB->get_field('email', 'sent', ['id' => $ids[2]]));
        $this->assertEquals($stamp, $DB->get_field('email', 'modifiedtime', ['id' => $ids[3]]));
    }

    /**
     * What repeats mails of another job is not Moodle's any more, nor is what an earlier version made.
     */
    public function test_what_never_goes_back(): void {
        $this->sidecar(700, -640);
        $user = $this->getDataGenerator()->create_user();
        $parent = $this->new_users_job([$user]);
        $child = $this->generator()->create_job(['source' => 'new_users', 'parent_job_id' => $parent->id]);
        $this->assertEquals((object)['returned' => 0, 'held' => 1], give_back::job($child->id));
        $other = $this->generator()->create_job(['source' => 'earlier']);
        $this->assertEquals((object)['returned' => 0, 'held' => 1], give_back::job($other->id));
    }

    /**
     * At uninstall the sidecar loses its lease, and every job is looked at.
     */
    public function test_uninstall(): void {
        global $CFG, $DB;
        require_once($CFG->dirroot . '/local/manireports/db/uninstall.php');
        $this->sidecar(1, 30);
        $users = [$this->getDataGenerator()->create_user(), $this->getDataGenerator()->create_user()];
        $job = $this->new_users_job($users, [1 => ['status' => 'processing', 'tries' => 1]]);

        ob_start();
        xmldb_local_manireports_uninstall();
        $output = ob_get_clean();

        $this->assertStringContainsString('1 mails were handed back', $output);
        $this->assertStringContainsString("Job $job->id (Account mails): 1 mails cannot be handed back", $output);
        $sidecar = $DB->get_record('manireports_cloud_sidecar', []);
        $this->assertSame('uninstalled', $sidecar->lease_token);
        $this->assertGreaterThan(time() + DAYSECS, $sidecar->lease_expires);
        $this->assertTrue($DB->record_exists('user_preferences', ['userid' => $users[0]->id, 'name' => 'create_password']));
    }
}
