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

use local_manireports\api\cloud_job_manager;
use local_manireports\cloud\access;
use local_manireports\cloud\job_actions;
use local_manireports\cloud\job_figures;
use local_manireports\cloud\job_filter;
use local_manireports\cloud\output\jobs_list;
use local_manireports\cloud\output\person_search;
use local_manireports\cloud\recipients;
use local_manireports\cloud\vocabulary;
use local_manireports\external\cloud_job_act;
use local_manireports\external\cloud_job_view;
use local_manireports\external\cloud_jobs_list;
use local_manireports\external\cloud_mail_resend;
use local_manireports\external\cloud_request_answer;
use local_manireports\external\cloud_sending_pause;

/**
 * Jobs on the pages: who sees and does what, lists and their pages, actions.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
final class cloud_jobs_test extends \advanced_testcase {
    /**
     * Every test has the database to itself.
     */
    protected function setUp(): void {
        parent::setUp();
        $this->resetAfterTest();
        $this->setAdminUser();
    }

    /**
     * A job with recipients.
     *
     * @param int $company
     * @param int[] $states recipients by state
     * @param array $columns of the job, that differ
     * @return int its id
     */
    private function job(int $company, array $states, array $columns = []): int {
        global $DB;
        $id = $DB->insert_record(cloud_job_manager::TABLE, (object)($columns + [
            'type' => 'csv_import', 'status' => 'partial_failure', 'email_count' => array_sum($states),
            'emails_sent' => $states['sent'] ?? 0, 'emails_failed' => $states['failed'] ?? 0, 'company_id' => $company,
            'created_at' => time() - 60, 'started_at' => time() - 50, 'completed_at' => time() - 10, 'closed_at' => time() - 40,
            'source' => 'iomad_mail', 'provider' => 'smtp', 'label' => "Job of company $company", 'timemodified' => time(),
        ]));
        $number = 0;
        foreach ($states as $state => $count) {
            for ($i = 0; $i < $count; $i++) {
                $number++;
                $DB->insert_record(recipients::TABLE, (object)[
                    'job_id' => $id, 'email' => "person$number@company$company.example.com", 'status' => $state,
                    'recipient_data' => '{"firstname": "Per", "lastname": "Son"}', 'source' => 'iomad_mail', 'role' => 'user',
                    'email_hash' => hash('sha256', "$id-$number"), 'mail_key' => hash('sha256', "k$id-$number"),
                    'error_code' => $state === 'failed' ? '450 4.2.2' : '', 'message_id' => '', 'timemodified' => time(),
                ]);
            }
        }
        return $id;
    }

    /**
     * Let the sidecar be alive.
     */
    private function sidecar_lives(): void {
        global $DB;
        $DB->delete_records('manireports_cloud_sidecar');
        $DB->insert_record('manireports_cloud_sidecar', (object)[
            'site_uid' => 'x', 'fingerprint' => 'x', 'lease_token' => 'x', 'lease_expires' => time() + 60, 'instance' => 'x',
            'version' => '1.0', 'started_at' => time(), 'last_seen' => time(), 'state' => '{}',
        ]);
    }

    /**
     * Become the manager of a company; where there are no companies, somebody without rights.
     *
     * @return int the company's id
     */
    private function become_company_manager(): int {
        global $DB;
        $user = $this->getDataGenerator()->create_user();
        if (!access::is_iomad()) {
            $this->setUser($user);
            return 1;
        }
        $company = $DB->insert_record('company', (object)[
            'name' => 'Acme', 'shortname' => 'acme', 'code' => 'acme', 'city' => 'York', 'country' => 'GB',
        ]);
        $role = $DB->get_field('role', 'id', ['shortname' => 'companymanager']) ?: create_role('M', 'mrmanager', '', '');
        $context = \core\context\company::instance($company);
        foreach ([access::VIEW, access::MANAGE] as $capability) {
            assign_capability($capability, CAP_ALLOW, $role, $context->id, true);
        }
        role_assign($role, $user->id, $context->id);
        $DB->insert_record('company_users', (object)[
            'companyid' => $company, 'userid' => $user->id, 'managertype' => 1, 'departmentid' => 0, 'suspended' => 0,
        ]);
        $this->setUser($user);
        return (int)$company;
    }

    /**
     * Whether something is refused.
     *
     * @param callable $do
     */
    private function assert_refused(callable $do): void {
        try {
            $do();
        } catch (\moodle_exception $error) {
            $this->assertContains($error->errorcode, ['cloudnojob', 'nopermissions', 'cloudnomail', 'cloudnorequest']);
            return;
        }
        $this->fail('it was not refused');
    }

    /**
     * A company manager sees and acts on nothing of another company, by no service.
     *
     * @covers \local_manireports\api\cloud_job_manager
     */
    public function test_nothing_of_another_company(): void {
        global $DB;
        $this->sidecar_lives();
        $foreign = $this->job(987, ['failed' => 2, 'sent' => 1, 'unknown' => 1, 'permanently_failed' => 1]);
        $nocompany = $this->job(0, ['failed' => 1]);
        $mail = (int)$DB->get_field(recipients::TABLE, 'MIN(id)', ['job_id' => $foreign]);
        $foreignrequest = cloud_job_act::execute($foreign, 'retry')['request'];
        $mine = $this->become_company_manager();
        $own = $this->job($mine, ['failed' => 1, 'sent' => 1]);

        foreach ([$foreign, $nocompany] as $id) {
            $this->assert_refused(fn() => cloud_job_view::execute($id));
            $this->assert_refused(fn() => cloud_job_manager::read($id));
            foreach (['retry', 'retryall', 'suppress', 'resolvesent', 'resolvefailed', 'cancel', 'release', 'pause'] as $action) {
                $this->assert_refused(fn() => cloud_job_act::execute($id, $action));
            }
        }
        $this->assert_refused(fn() => cloud_mail_resend::execute($mail));
        $this->assert_refused(fn() => cloud_request_answer::execute($foreignrequest));
        $this->assert_refused(fn() => cloud_sending_pause::execute(true));
        $this->assertSame(1, $DB->count_records('manireports_cloud_requests'));

        $this->assertSame(0, cloud_job_manager::count(new job_filter(company: 987)));
        $this->assertSame([], recipients::to_person([], ['person1@company987.example.com'], 0, 10));
        if (!access::is_iomad()) {
            $this->assert_refused(fn() => cloud_jobs_list::execute());
            return;
        }
        $this->assertSame([$own], array_keys(cloud_job_manager::list(new job_filter(), 0, 50)));
        $all = iterator_to_array(cloud_job_manager::each(new job_filter()), false);
        $this->assertSame([$own], array_map(fn($job) => (int)$job->id, $all));
        $html = cloud_jobs_list::execute()['html'];
        $this->assertStringContainsString("#$own ", $html);
        $this->assertStringNotContainsString('Job of company 987', $html);
        $this->assertStringNotContainsString('987', cloud_jobs_list::execute(987)['html']);
        $this->assertSame([], iterator_to_array((new person_search('person1@company987.example.com'))->each()));
        $this->assertGreaterThan(0, cloud_job_act::execute($own, 'retry')['request']);
        $this->assertSame(0, array_sum(array_map(fn($day) => $day->sent, job_figures::days(3, 987))));
    }

    /**
     * Pages of recipients follow each other forwards and backwards, whatever their states.
     *
     * @covers \local_manireports\cloud\recipients
     */
    public function test_pages_of_recipients(): void {
        $id = $this->job(0, ['sent' => 7, 'failed' => 3, 'pending' => 2]);
        $seen = [];
        $cursors = [];
        $after = '';
        do {
            $page = recipients::page($id, '', '', $after, '', 5);
            $this->assertSame($after === '', $page->first);
            $seen[] = array_map(fn($row) => (int)$row->id, $page->rows);
            $cursors[] = recipients::cursor_of($page->rows[0]);
            $after = recipients::cursor_of(end($page->rows));
        } while (!$page->last);
        $this->assertSame([5, 5, 2], array_map('count', $seen));
        $this->assertCount(12, array_unique(array_merge(...$seen)));
        $back = recipients::page($id, '', '', '', $cursors[2], 5);
        $this->assertSame($seen[1], array_map(fn($row) => (int)$row->id, $back->rows));
        $this->assertFalse($back->first);
        $back = recipients::page($id, '', '', '', $cursors[1], 5);
        $this->assertSame($seen[0], array_map(fn($row) => (int)$row->id, $back->rows));
        $this->assertTrue($back->first);
        $this->assertCount(12, iterator_to_array(recipients::each($id), false));
        $this->assertCount(3, iterator_to_array(recipients::each($id, ['failed']), false));
        $this->assertCount(1, recipients::page($id, '', 'person12@', '', '', 5)->rows);
        $this->assertCount(5, recipients::page($id, '', '', 'nonsense', '', 5)->rows);
    }

    /**
     * Actions are those that make sense; each asks once and fires its event; without a sidecar none is asked.
     *
     * @covers \local_manireports\cloud\job_actions
     */
    public function test_actions(): void {
        global $DB;
        $id = $this->job(0, ['sent' => 1, 'failed' => 2]);
        try {
            job_actions::perform($id, 'retry');
            $this->fail('nobody is there to do it');
        } catch (\moodle_exception $error) {
            $this->assertSame('cloudnosidecar', $error->errorcode);
        }
        $this->sidecar_lives();
        $sink = $this->redirectEvents();
        $first = job_actions::perform($id, 'retry');
        $this->assertSame($first->request, job_actions::perform($id, 'retry')->request);
        $this->assertInstanceOf(event\cloud_job_retried::class, $sink->get_events()[0]);
        $this->assertSame(1, $DB->count_records('manireports_cloud_requests'));
        $request = $DB->get_record('manireports_cloud_requests', ['id' => $first->request]);
        $this->assertSame(['retry', ['job' => $id]], [$request->action, json_decode($request->params, true)]);
        $this->expectExceptionMessage(get_string('cloudnotpossible', 'local_manireports'));
        job_actions::perform($id, 'cancel');
    }

    /**
     * An answer is told in words, to the one who asked.
     *
     * @covers \local_manireports\external\cloud_request_answer
     */
    public function test_answers(): void {
        global $DB;
        $this->sidecar_lives();
        $id = $this->job(0, ['failed' => 2]);
        $asked = cloud_job_act::execute($id, 'retry');
        $this->assertSame('new', cloud_request_answer::execute($asked['request'])['status']);
        $DB->update_record('manireports_cloud_requests', (object)[
            'id' => $asked['request'], 'status' => 'done', 'answer' => '{"job": 77, "mails": 2}',
        ]);
        $answer = cloud_request_answer::execute($asked['request']);
        $this->assertSame(['done', 0], [$answer['status'], $answer['request']]);
        $this->assertStringContainsString('2', $answer['text']);
        $this->assertStringEndsWith('cloud_job.php?id=77', $answer['url']);
    }

    /**
     * What has no word is shown as it is, and never as a missing string.
     *
     * @covers \local_manireports\cloud\vocabulary
     */
    public function test_words(): void {
        $this->assertSame('500 users + 500 copies', vocabulary::size(1000, 500));
        $this->assertSame('1 user', vocabulary::size(1, 0));
        $this->assertSame('old report type', vocabulary::type('old_report_type'));
        $this->assertSame('', vocabulary::type(''));
        $this->assertSame('MessageRejected', vocabulary::reason('MessageRejected'));
        $this->assertSame(get_string('cloudcode_smtpnoaddress', 'local_manireports'), vocabulary::reason('550 5.1.1'));
        $this->assertSame(get_string('cloudcode_smtpfull', 'local_manireports'), vocabulary::reason('452'));
        $this->assertSame(get_string('cloudcode_smtprefused', 'local_manireports'), vocabulary::reason('599'));
        $id = $this->job(0, [], ['type' => 'x_y', 'label' => '', 'status' => 'odd']);
        $rows = jobs_list::rows([cloud_job_manager::read($id)], true);
        $this->assertSame(['x y', 'odd'], [$rows[0]['label'], $rows[0]['badge']['label']]);
    }

    /**
     * Downloads hold no formulas.
     *
     * @covers \local_manireports\cloud\downloads
     */
    public function test_downloads(): void {
        global $DB;
        $id = $this->job(0, ['failed' => 1]);
        $DB->set_field(recipients::TABLE, 'error_message', '=cmd()', ['job_id' => $id]);
        [$mail] = iterator_to_array(recipients::each($id), false);
        $row = cloud\downloads::mail($mail);
        $this->assertSame("'=cmd()", $row['answer']);
        $this->assertSame(array_keys(cloud\downloads::mail_columns()), array_keys($row));
        $names = [];
        $job = cloud\downloads::job(cloud_job_manager::read($id), [], $names);
        $this->assertSame(array_keys(cloud\downloads::job_columns()), array_keys($job));
    }

    /**
     * A mail counts on the day on which its batch ended, and a repeated one once.
     *
     * @covers \local_manireports\cloud\job_figures
     */
    public function test_days(): void {
        global $DB;
        $today = usergetmidnight(time());
        $root = $this->job(0, []);
        $child = $this->job(0, [], ['parent_job_id' => $root]);
        $batches = [[$root, $today - 3600, 5, 60], [$root, $today + 1, 3, 600], [$child, $today + 1, 2, 60]];
        foreach ($batches as [$id, $at, $sent, $took]) {
            $DB->insert_record(cloud_job_manager::BATCHES, (object)[
                'job_id' => $id, 'status' => 'sent', 'sent_count' => $sent, 'email_count' => $sent, 'provider' => 'smtp',
                'created_at' => $at - $took, 'completed_at' => $at, 'queue_message_id' => '',
            ]);
        }
        $days = array_values(job_figures::days(2));
        $this->assertSame([5, 3], array_column($days, 'sent'));
        $this->assertSame([60, 600], array_column($days, 'half'));
    }
}
